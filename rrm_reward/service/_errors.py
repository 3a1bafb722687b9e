"""A request that is answered with an error."""

from __future__ import annotations


class Refused(Exception):
    """Nothing was spent on this request; the answer is ``{"error": message}``.

    Attributes:
        status: HTTP status.
        message: names the field, what was found and what is wanted.
        retry_after: seconds after which the same request may be welcome, or None.
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after
