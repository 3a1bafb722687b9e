"""Which OpenRLHF this is, and what to do about one that cannot work."""

from __future__ import annotations

import logging
from importlib.metadata import PackageNotFoundError, version

logger = logging.getLogger(__name__)

TRIED = ("0.10.1", "0.11.2")
"""Versions that the tests run: the last one with flat flags, and the newest."""


def require_openrlhf() -> str:
    """The installed OpenRLHF, which must be one that can work.

    What this package uses is the same from 0.10.0 on: executors whose ``execute`` takes ``images``, made once per
    engine. A newer one than was tried is let through with a warning.

    Raises:
        ImportError: OpenRLHF is missing or too old.
    """
    try:
        found = version("openrlhf")
    except PackageNotFoundError as error:
        raise ImportError(
            f"rrm_reward.integrations.openrlhf needs OpenRLHF, for example {TRIED[-1]}: pip install openrlhf"
        ) from error
    major, minor = (int(part) for part in found.split(".")[:2])
    if (major, minor) < (0, 10):
        raise ImportError(
            f"OpenRLHF {found} gives agent executors another interface (no images before 0.10.0); rrm_reward works "
            f"with {' and '.join(TRIED)}: upgrade OpenRLHF, or (0.9) let its --remote_rm_url ask `rrm-reward serve`"
        )
    if (major, minor) > (0, 11):
        logger.warning("OpenRLHF %s was never tried with rrm_reward, which knows %s", found, ", ".join(TRIED))
    return found
