"""Options of schedules and ratings: what may be set, checked before anything is spent.

A schedule or rating declares a table of `Option`; `read_options` turns a user's mapping into keyword
arguments and names the dotted key, the value and the fix where it cannot.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from rrm_reward.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Option:
    """One setting.

    Attributes:
        kind: int, float, bool or str; an int is taken where a float is expected, a bool never as a number.
        default: used where the user says nothing; may be None where the option is then worked out.
        help: one line.
        low: smallest number allowed.
        above: number that must be exceeded.
        high: largest number allowed.
        multiple_of: the number must be divisible by this.
        choices: the strings allowed.
    """

    kind: type
    default: Any
    help: str
    low: float | None = None
    above: float | None = None
    high: float | None = None
    multiple_of: int | None = None
    choices: tuple[str, ...] = ()

    def read(self, key: str, value: Any) -> Any:
        """The value in its own type.

        Raises:
            ConfigError: wrong type or out of range.
        """
        if value is None and self.default is None:
            return None
        if self.kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        number: Any = value
        if type(value) is not self.kind:
            raise ConfigError(key, value, f"expected {self.kind.__name__} ({self.help})")
        if self.choices and value not in self.choices:
            raise ConfigError(key, value, f"choose one of {', '.join(self.choices)}")
        # Written so that nan fails every bound.
        if self.low is not None and not number >= self.low:
            raise ConfigError(key, value, f"must be at least {self.low}")
        if self.above is not None and not number > self.above:
            raise ConfigError(key, value, f"must be greater than {self.above}")
        if self.high is not None and not number <= self.high:
            raise ConfigError(key, value, f"must be at most {self.high}")
        if self.multiple_of is not None and number % self.multiple_of:
            raise ConfigError(key, value, f"must be a multiple of {self.multiple_of}")
        return value


def read_options(prefix: str, table: Mapping[str, Option], given: Mapping[str, Any]) -> dict[str, Any]:
    """Every option of the table, from the user or by default.

    Args:
        prefix: dotted path of the mapping, for example ``tournament.options``.
        table: what may be set.
        given: what the user set.

    Raises:
        ConfigError: an unknown option (its nearest neighbour is named), or a value `Option.read` refuses.
    """
    for name in given:
        if name not in table:
            near = difflib.get_close_matches(str(name), table, n=1)
            known = f"it takes {', '.join(table)}" if table else "it takes no options"
            raise ConfigError(f"{prefix}.{name}", given[name], f"did you mean {near[0]}?" if near else known)
    return {
        name: option.read(f"{prefix}.{name}", given[name]) if name in given else option.default
        for name, option in table.items()
    }


def pick(key: str, registry: Mapping[str, T], name: str) -> T:
    """The registry's entry of that name.

    Raises:
        ConfigError: there is none.
    """
    if name not in registry:
        near: Iterable[str] = difflib.get_close_matches(str(name), registry, n=1)
        hint = "".join(f"did you mean {other}? " for other in near)
        raise ConfigError(key, name, f"{hint}choose one of {', '.join(registry)}")
    return registry[name]
