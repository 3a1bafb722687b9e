"""Packaging of rrm-reward.

The trainer shims live in the top-level folder ``integrations/`` and are installed as
``rrm_reward.integrations``. Pins of our own test machines are not here but in ``requirements/``:
on a user's machine the trainer decides which torch, Ray and transformers there are.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(r'__version__ = "([^"]+)"', (ROOT / "rrm_reward/__init__.py").read_text())
assert VERSION is not None

setup(
    name="rrm-reward",
    version=VERSION.group(1),
    description="Reward Reasoning Models as the reward of RL trainers: groups, tournaments, ratings.",
    long_description=(ROOT / "README.md").read_text(),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=[
        *find_packages(include=["rrm_reward", "rrm_reward.*"]),
        "rrm_reward.integrations",
        *(f"rrm_reward.integrations.{name}" for name in find_packages("integrations")),
    ],
    package_dir={"rrm_reward.integrations": "integrations"},
    package_data={"rrm_reward": ["py.typed"]},
    install_requires=[
        "numpy>=1.26",  # ratings are arrays
        "omegaconf>=2.3,<3",  # the configuration trees of verl and hydra
        "orjson>=3.9,<4",  # request bodies of 10 kB at a tenth of the CPU of json
        "tqdm>=4.66",  # the progress bar of `rrm-reward rank`
    ],
    extras_require={
        "transformers": ["torch>=2.4", "transformers>=4.51"],  # the judge in process
        "data": ["datasets>=3", "pyarrow>=16", "math-verify>=0.7", "pebble>=5"],  # `rrm-reward data ...`
        "service": ["starlette>=0.40", "uvicorn>=0.30", "httptools>=0.6", "prometheus-client>=0.20"],
    },
    entry_points={"console_scripts": ["rrm-reward = rrm_reward.cli:main"]},
)
