"""Which verl this is, and what to do about one that was never tried."""

from __future__ import annotations

import logging
from importlib.metadata import PackageNotFoundError, version

logger = logging.getLogger(__name__)

TRIED = ("0.8", "0.9")
"""Versions of verl, major and minor, that the tests run."""


def verl_version() -> str:
    """The installed verl, for example ``0.9.1``.

    Raises:
        ImportError: there is none.
    """
    try:
        return version("verl")
    except PackageNotFoundError as error:
        raise ImportError(
            f"rrm_reward.integrations.verl needs verl {' or '.join(TRIED)}: pip install verl"
        ) from error


def require_verl() -> str:
    """The installed verl, which must be one that can work.

    A newer one than was tried is let through with a warning: what this package uses of verl is checked where it is
    used.

    Raises:
        ImportError: verl is missing or too old.
    """
    found = verl_version()
    major, minor = (int(part) for part in found.split(".")[:2])
    if (major, minor) < (0, 8):
        raise ImportError(
            f"verl {found} has another reward interface; rrm_reward works with {' and '.join(TRIED)}: upgrade verl"
        )
    if f"{major}.{minor}" not in TRIED:
        logger.warning("verl %s was never tried with rrm_reward, which knows %s", found, " and ".join(TRIED))
    return found
