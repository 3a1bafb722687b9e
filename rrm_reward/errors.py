"""Errors a user can mend, raised at start-up or at the boundary, never in the middle of a run."""

from __future__ import annotations

from rrm_reward.redaction import redacted


class RRMRewardError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(RRMRewardError, ValueError):
    """A setting that cannot work, found before anything was spent.

    Attributes:
        key: dotted path of the setting, for example ``judge.urls``.
        value: what was given; the message shows it without the credentials of URLs.
        fix: what to write instead.
    """

    def __init__(self, key: str, value: object, fix: str) -> None:
        super().__init__(redacted(f"{key}={value!r}: {fix}"))
        self.key = key
        self.value = value
        self.fix = fix

    def __reduce__(self) -> tuple[type[ConfigError], tuple[str, object, str]]:
        """Copies and crosses processes, which an exception of three arguments does not by itself."""
        return type(self), (self.key, self.value, self.fix)


class InputError(RRMRewardError, ValueError):
    """A record of the user's data that cannot be read; names the place, the field and the fix."""
