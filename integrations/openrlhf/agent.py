"""An agent file as it is, for ``--train.agent_func_path``; the variable ``RRM_CONFIG`` names its settings.

--train.agent_func_path "$(python -m rrm_reward.integrations.openrlhf.check --agent-file)"
"""

from rrm_reward.integrations.openrlhf.executor import RRMAgentExecutor as AgentExecutor

__all__ = ["AgentExecutor"]
