"""What must not be read in errors, warnings, logs and metrics: credentials.

A judge's URL may hold a user and a password, or a key in its query. `redacted` is applied to every text that is made
from a URL; it is idempotent, takes any text, and rather hides too much than too little:

    >>> redacted("no judge answers (http://me:s3cret@host/v1: refused)")
    'no judge answers (http://***@host/v1: refused)'
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "***"

# A password that should have been percent-encoded may hold anything but white space: up to the last @ of the word.
_USER = re.compile(r"(?<=://)\S*@")
_NO_SCHEME = re.compile(r"""[^\s'"/@:]+:(?!//)[^\s'"@]+@(?=[^\s'"])""")
_QUERY = re.compile(r"(://[^\s?]*\?)\S+")
_SECRET = re.compile(
    r"(?i).*(?:(?:api|access|private)[-_]?key|secret.*|password|passwd|authorization|bearer|(?:^|[-_])token)"
)


def redacted(text: str) -> str:
    """The text without the credentials of URLs in it."""
    if "@" not in text and "://" not in text:
        return text
    text = _NO_SCHEME.sub(f"{HIDDEN}@", _USER.sub(f"{HIDDEN}@", text))
    return _QUERY.sub(rf"\g<1>{HIDDEN}", text)


def redacted_settings(tree: Any) -> Any:
    """A copy of nested settings, as they may be stored: URLs redacted, values of keys that name a secret hidden.

    Args:
        tree: mappings, lists and plain values; ``api_key_env``, the name of a variable, is no secret.
    """
    if isinstance(tree, Mapping):
        return {
            key: HIDDEN if value and _SECRET.fullmatch(str(key)) else redacted_settings(value)
            for key, value in tree.items()
        }
    if isinstance(tree, (list, tuple)):
        return [redacted_settings(value) for value in tree]
    return redacted(tree) if isinstance(tree, str) else tree
