"""Imports point one way, and the library needs no trainer."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "rrm_reward"
SHIMS = Path(__file__).parents[1] / "integrations"

LAYERS = (
    ("types", "errors", "redaction", "seeding", "_once", "_sqlite"),
    ("options", "tournament", "rating", "reward", "judge"),
    (
        "_ahead",
        "_group",
        "_open_group",
        "_queue",
        "_reckoning",
        "metrics",
        "health",
        "record",
        "arena",
        "scoring",
    ),
    ("_share", "assembler", "config", "_settings", "_cluster_config", "_judge_config", "_validate", "data"),
    ("build",),
    ("rank", "replay", "service", "cluster", "integrations"),
    ("cli",),
)
"""From the bottom up: a module may import its own layer and those below (`config` is read by everyone)."""

RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}

HEAVY = ("torch", "transformers", "ray", "vllm", "verl", "openrlhf", "trl", "datasets", "pyarrow", "pandas")


def imports_of(path: Path) -> list[tuple[str, bool]]:
    """(module, whether it is imported when the file is) for every import of a file."""
    tree = ast.parse(path.read_text())
    inner = {
        node
        for scope in ast.walk(tree)
        if isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(scope)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node not in inner) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write absolute imports"
            found.append((node.module or "", node not in inner))
    return found


def room_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


LIBRARY = sorted(path for path in PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_only_its_own_layer_and_those_below(path):
    room = room_of(path)
    if room == "__init__":
        return
    assert room in RANK, f"give {room} a place in LAYERS"
    for module, _ in imports_of(path):
        if module.startswith("rrm_reward."):
            target = module.split(".")[1]
            assert RANK[target] <= RANK[room] or target == "config", f"{room} must not import {target}"


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_nothing_heavy_is_imported_before_it_is_needed(path):
    for module, at_import in imports_of(path):
        assert not (at_import and module.split(".")[0] in HEAVY), f"import {module} where it is used"


def test_the_library_runs_without_torch_ray_and_trainers():
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({HEAVY!r}))\n"
        "import rrm_reward.cli, rrm_reward.build, rrm_reward.assembler, rrm_reward.rank, rrm_reward.data\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_shims_know_the_library_but_not_each_other():
    trainers = {path.name for path in SHIMS.iterdir() if path.is_dir() and path.name != "__pycache__"}
    for path in SHIMS.rglob("*.py"):
        mine = path.relative_to(SHIMS).parts[0]
        for module, _ in imports_of(path):
            parts = module.split(".")
            if parts[:2] == ["rrm_reward", "integrations"] and len(parts) > 2:
                assert parts[2] == mine or parts[2] not in trainers


def test_modules_stay_small():
    for path in [*LIBRARY, *SHIMS.rglob("*.py")]:
        assert len(path.read_text().splitlines()) <= 300, f"{path} wants to be two modules"
