"""TRL: the reward of a group for `GRPOTrainer` (1.x), which hands over the rollouts of whole batches.

    from rrm_reward.integrations.trl import RRMReward

    reward = RRMReward("rrm.yaml")
    trainer = GRPOTrainer(model=..., reward_funcs=reward, args=..., train_dataset=...)
    trainer.train()

    _reward.py       `RRMReward`, what the trainer calls
    _rows.py         TRL's arguments as rows: query, response, prompt id
    _grouping.py     which neighbours are a group, and what cannot be one
    _ranks.py        groups that straddle processes: told to all, judged by one
    _judge_thread.py the arena, in an event loop of its own

Importing this package imports neither TRL nor torch. ``recipes/trl`` is the user's page.
"""

from rrm_reward.integrations.trl._reward import RRMReward

__all__ = ["RRMReward"]
