"""Every `rrm-reward` command that a page, a recipe or a comment shows is one that the program takes."""

import re
import shlex
from pathlib import Path

import pytest

from rrm_reward import cli

ROOT = Path(__file__).parents[1]
FILES = [
    path
    for folder in ("docs", "recipes")
    for path in sorted((ROOT / folder).rglob("*"))
    if path.suffix in {".md", ".sh", ".yaml"}
]
_COMMAND = re.compile(r"^(?:    |# +|[$] )?rrm-reward ((?:rank|replay|serve|data|size|doctor)\b.*)$")


def commands(text):
    """Those that stand on lines of their own, whole: without an ellipsis or a placeholder in brackets."""
    lines = re.sub(r"\\\n[# ]*", "", text).splitlines()
    found = (_COMMAND.match(line) for line in lines)
    return [match[1] for match in found if match and "..." not in match[1] and "[" not in match[1]]


SHOWN = [
    pytest.param(command, id=f"{path.relative_to(ROOT)}: {command[:40]}")
    for path in [ROOT / "README.md", *FILES]
    for command in commands(path.read_text())
]


@pytest.mark.parametrize("command", SHOWN)
def test_a_documented_command_is_one_that_the_program_takes(command):
    words = shlex.split(command.partition(" > ")[0], comments=True)
    arguments, rest = cli._parser().parse_known_args(words)
    assert all("=" in word and not word.startswith("-") for word in rest), rest
    assert arguments.command == words[0]


def test_commands_are_found_where_they_are_shown():
    found = [command.values[0] for command in SHOWN]
    assert len(found) > 15
    assert sum(command.startswith("data pairs") for command in found) >= 4
    assert any("--limit tulu=80000" in command and "--exclude" in command for command in found), "whole ones"
