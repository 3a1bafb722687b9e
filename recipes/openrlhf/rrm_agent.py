"""For ``--train.agent_func_path``: rollouts as OpenRLHF makes them, rewards by a Reward Reasoning Model.

The settings are in the YAML beside this file, unless the variable RRM_CONFIG of the job's runtime environment names
another. Both must lie where every node sees them.
"""

from pathlib import Path

from rrm_reward.integrations.openrlhf.executor import RRMAgentExecutor


class AgentExecutor(RRMAgentExecutor):
    config_file = Path(__file__).with_name("webinstruct_rrm.yaml")
