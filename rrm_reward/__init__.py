"""Rewards from Reward Reasoning Models: groups of rollouts in, one number per rollout out.

``trainer shim -> assembler -> arena -> judge -> backend`` and back through rating and reward; see
``docs/architecture.md``. Importing this package needs numpy, orjson and omegaconf only.
"""

__version__ = "0.1.0"
