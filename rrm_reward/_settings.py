"""How a setting is declared: a field of a dataclass with a line of help."""

from __future__ import annotations

from dataclasses import field
from typing import Any


def setting(default: Any, text: str) -> Any:
    """A dataclass field with its line of help; mutable defaults are copied."""
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata={"help": text})
    return field(default=default, metadata={"help": text})
