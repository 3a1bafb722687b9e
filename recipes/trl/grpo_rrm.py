"""GRPO in TRL with a Reward Reasoning Model as the only reward; `README.md` says how to start it.

accelerate launch recipes/trl/grpo_rrm.py --config recipes/trl/webinstruct.yaml
"""

from dataclasses import dataclass

from datasets import load_dataset
from trl import GRPOConfig, GRPOTrainer, TrlParser

from rrm_reward.integrations.trl import RRMReward


@dataclass
class Run:
    model: str  # the policy: a folder or hub name
    data: str  # parquet with a column `prompt`: text, or chat messages
    rrm: str  # the judge and its tournament: YAML


def main() -> None:
    run, args = TrlParser((Run, GRPOConfig)).parse_args_and_config()
    prompts = load_dataset("parquet", data_files=run.data, split="train").select_columns(["prompt"])
    with RRMReward(run.rrm) as reward:
        trainer = GRPOTrainer(run.model, reward_funcs=reward, args=args, train_dataset=prompts)
        trainer.train()
        trainer.save_model()


if __name__ == "__main__":
    main()
