"""The command line: ``rrm-reward rank``, ``serve`` and ``data``; see ``rrm-reward COMMAND --help``.

Options are short names for settings of the one configuration tree (`rrm_reward.config`), whose help they
show. What is not worth an option is written ``key=value``; a file (``--config``) holds what both do not say.

Exit codes: 0 all went well; 1 some lines could not be judged, and are named; 2 the command or a setting is
wrong, and nothing was spent; 130 interrupted, and finished lines are kept.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from rrm_reward import __version__
from rrm_reward.data.pairs._arguments import DESCRIPTION, add_arguments
from rrm_reward.errors import ConfigError, RRMRewardError

OK, SOME_FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

SETTINGS = {
    "--judge": "judge.urls",
    "--model": "judge.model",
    "--tournament": "tournament.name",
    "--rating": "rating.name",
    "--budget": "tournament.budget",
    "--votes": "judge.votes",
    "--order": "judge.order",
    "--concurrency": "arena.concurrency",
    "--timeout": "judge.timeout",
    "--seed": "seed",
}
"""Options that stand for a setting, of every command that judges."""

REPLAY_SETTINGS = {
    "--rating": "rating.name",
    "--tournament": "tournament.name",
    "--budget": "tournament.budget",
    "--scale": "reward.scale",
}
"""Options of `replay` that stand for a setting."""

COLLECTIONS = (50_000, 10, 10)
"""Allocations between garbage collections. Python's 700 suit a small heap; ours is imports that stay and thousands
of requests in flight that die by reference count, and to walk them again and again costs every call (`python -m
benchmarks.overhead` measures the whole)."""

METAVARS = {"--judge": "URL[,URL...]", "--model": "NAME", "--timeout": "SECONDS"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: without the program's name; None takes those of the process.

    Returns:
        The exit code; a wrong command line raises `SystemExit` with 2, as argparse does.
    """
    # Read when numpy is imported: ratings of a few rows need no pool of threads, whose start costs CPU.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    thresholds = gc.get_threshold()
    gc.set_threshold(*COLLECTIONS)
    try:
        return _run(argv)
    finally:
        gc.set_threshold(*thresholds)


def _run(argv: Sequence[str] | None) -> int:
    parser = _parser()
    arguments, rest = parser.parse_known_args(argv)
    # argparse gives a list of positional arguments one place only; key=value may stand anywhere.
    overrides = [*getattr(arguments, "overrides", ()), *rest]
    if wrong := [text for text in overrides if text.startswith("-") or "=" not in text]:
        parser.error(f"unrecognized arguments: {' '.join(wrong)} (settings are written key=value)")
    if overrides and not hasattr(arguments, "overrides"):
        parser.error(f"unrecognized arguments: {' '.join(overrides)}")
    try:
        if arguments.command == "rank":
            return _rank(arguments, overrides)
        if arguments.command == "replay":
            return _replay(arguments, overrides)
        if arguments.command == "serve":
            return _serve(arguments, overrides)
        if hasattr(arguments, "run"):
            return int(arguments.run(arguments))
        return _data(arguments)
    except RRMRewardError as error:
        print(f"rrm-reward: {error}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:
        # Whoever read our output has left (`| head`); Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return SOME_FAILED
    except OSError as error:
        print(f"rrm-reward: {error}; what was finished is kept", file=sys.stderr)
        return SOME_FAILED
    except KeyboardInterrupt:
        print("rrm-reward: interrupted; what was finished is kept", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="rrm-reward", description="Rewards from Reward Reasoning Models.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"rrm-reward {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_rank(commands)
    _add_replay(commands)
    _add_serve(commands)
    _add_data(commands)
    from rrm_reward.cluster._commands import add_commands

    add_commands(commands)
    return parser


def _add_rank(commands: Any) -> None:
    rank = commands.add_parser(
        "rank",
        allow_abbrev=False,
        help="reward the groups of a file",
        description="Reads a group {id, query, responses} a line and writes {id, rewards, ratings, stderr, "
        "comparisons, calls, missing} a line, in the same order.",
        epilog="Exit code 1: some lines could not be judged; 2: the command or a setting is wrong.",
    )
    rank.add_argument("input", metavar="IN.jsonl", help="groups, one JSON object a line; - is standard input")
    _add_settings(rank)
    rank.add_argument(
        "--output", metavar="OUT.jsonl", help="a file that exists is continued; else standard output"
    )
    rank.add_argument(
        "--resume",
        action="store_true",
        help="keep verdicts in OUT.jsonl.verdicts (or judge.store), and pay for none twice that is there",
    )
    rank.add_argument("--dry-run", action="store_true", help="count comparisons and calls; ask nobody")


def _add_replay(commands: Any) -> None:
    replay = commands.add_parser(
        "replay",
        allow_abbrev=False,
        help="rate a run log again, without a judge",
        description="Writes lines as `rank` does, and how many matches of the schedule the log does not have "
        "(uncovered). Settings are those of the logged run, but for what is given here.",
        epilog="Exit code 1: groups lost rows when they were written, and are left out; 2: a setting is wrong.",
    )
    replay.add_argument("log", metavar="LOG", help="SQLite file, as log.path named it")
    replay.add_argument(
        "overrides", metavar="key=value", nargs="*", help="seed, tournament.*, rating.*, reward.*, position.*"
    )
    for option, key in REPLAY_SETTINGS.items():
        replay.add_argument(option, dest=key, metavar=option[2:].upper(), help=_help(key))


def _add_serve(commands: Any) -> None:
    serve = commands.add_parser(
        "serve",
        allow_abbrev=False,
        help="reward groups and samples over HTTP",
        description="Serves POST /v1/rewards, /v1/samples and /v1/openrlhf until SIGTERM; see GET /openapi.json.",
        epilog="Exit code 1: groups were still open and were cut short; 2: a setting is wrong.",
    )
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    serve.add_argument("--port", type=int, default=8080, help="0 takes any and prints it (%(default)s)")
    _add_settings(serve)


def _add_settings(command: argparse.ArgumentParser) -> None:
    """What every command that judges takes: short options, a file, ``key=value``."""
    command.add_argument(
        "overrides", metavar="key=value", nargs="*", help="further settings, e.g. judge.top_p=0.9"
    )
    for option, key in SETTINGS.items():
        metavar = METAVARS.get(option, option[2:].upper())
        command.add_argument(option, dest=key, metavar=metavar, help=_help(key))
    command.add_argument(
        "--config", metavar="FILE", help="settings as YAML; options and key=value win over it"
    )


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Settings by key that were given as options."""
    given: dict[str, Any] = {key: getattr(arguments, key) for key in SETTINGS.values()}
    if given["judge.urls"] is not None:
        given["judge.urls"] = given["judge.urls"].split(",")
    return {key: value for key, value in given.items() if value is not None}


def _add_data(commands: Any) -> None:
    data = commands.add_parser("data", allow_abbrev=False, help="make training data")
    sets = data.add_subparsers(dest="set", required=True, metavar="SET")
    webinstruct = sets.add_parser(
        "webinstruct",
        allow_abbrev=False,
        help="WebInstruct-verified as verl rows without answers",
        description="Writes verl rows of TIGER-Lab/WebInstruct-verified, or of files of the same schema, "
        "as Parquet. The rows hold no answers unless --keep-answers is given.",
    )
    add = webinstruct.add_argument
    add("output", metavar="OUT.parquet")
    add("--source", default="TIGER-Lab/WebInstruct-verified", help="hub name, file or folder (%(default)s)")
    add("--split", default="train", help="of the source (%(default)s)")
    add("--limit", type=int, metavar="N", help="rows to write at most, drawn at random")
    add("--seed", type=int, default=0, help="of the order of rows (%(default)s)")
    add("--max-chars", type=int, metavar="N", help="drop questions longer than this")
    add("--instruction", help="text appended to each question; '' for none")
    add("--keep-answers", action="store_true", help="write answers as ground_truth: for validation rows only")
    pairs = sets.add_parser(
        "pairs",
        allow_abbrev=False,
        help="preference pairs that train an RRM, as verl rows",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_arguments(pairs)


def _help(key: str) -> str:
    """The line of help that the setting itself brings, and its key."""
    from rrm_reward.config import RRMConfig

    schema: Any = RRMConfig
    for part in key.split("."):
        setting = next(f for f in fields(schema) if f.name == part)
        schema = setting.default_factory  # the class of the section, where the setting is one
    default = setting.default
    shown = f", default {default}" if isinstance(default, (str, int, float)) and default != "" else ""
    return f"{setting.metadata['help']} ({key}{shown})".replace("%", "%%")


def _rank(arguments: argparse.Namespace, overrides: list[str]) -> int:
    from rrm_reward.rank import _command

    options = _settings(arguments)
    command = _command.Command(
        *(arguments.input, arguments.output, arguments.config, options, overrides), resume=arguments.resume
    )
    return SOME_FAILED if (command.dry_run() if arguments.dry_run else command.run()) else OK


def _replay(arguments: argparse.Namespace, overrides: list[str]) -> int:
    from rrm_reward import replay

    given = {key: getattr(arguments, key) for key in REPLAY_SETTINGS.values()}
    options = {key: value for key, value in given.items() if value is not None}
    return SOME_FAILED if replay.Command(arguments.log, options, overrides).run(sys.stdout) else OK


def _serve(arguments: argparse.Namespace, overrides: list[str]) -> int:
    from rrm_reward.config import load_options

    try:
        from rrm_reward.service import serve
    except ImportError as error:
        raise ConfigError("serve", error.name, "is missing: pip install 'rrm-reward[service]'") from error
    config = load_options(arguments.config, _settings(arguments), overrides)
    return OK if serve(config, arguments.host, arguments.port) else SOME_FAILED


def _data(arguments: argparse.Namespace) -> int:
    if arguments.set == "pairs":
        from rrm_reward.data.pairs import _command

        line, complete = _command.run(arguments)
        print(line)
        return OK if complete else SOME_FAILED
    from rrm_reward.data import webinstruct

    written = webinstruct.prepare(
        arguments.output,
        source=arguments.source,
        split=arguments.split,
        limit=arguments.limit,
        seed=arguments.seed,
        max_chars=arguments.max_chars,
        instruction=webinstruct.INSTRUCTION if arguments.instruction is None else arguments.instruction,
        keep_answers=arguments.keep_answers,
    )
    print(f"{arguments.output}: {written}")
    return OK


if __name__ == "__main__":
    raise SystemExit(main())
