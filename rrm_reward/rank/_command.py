"""``rrm-reward rank`` from its arguments to its summary: settings, files, progress."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from rrm_reward.arena import Arena
from rrm_reward.build import build_arena
from rrm_reward.config import RRMConfig, load_options
from rrm_reward.errors import ConfigError
from rrm_reward.rank._drive import rank
from rrm_reward.rank._file import OutputFile
from rrm_reward.rank._output import Output, OutputStream
from rrm_reward.rank._plan import plan
from rrm_reward.rank._reader import count_lines, lines, open_input, stream
from rrm_reward.rank._tally import Tally


@dataclass(frozen=True)
class Command:
    """What was asked for.

    Attributes:
        input: a path, or ``-``.
        output: a path, or None for standard output.
        file: the configuration file, if any.
        options: settings by key that were given as options; they win over the file.
        overrides: settings as ``key=value``; they win over the file too, and may not repeat an option.
        resume: keep verdicts beside the output, so that none is paid for twice.
    """

    input: str
    output: str | None
    file: str | None
    options: Mapping[str, Any]
    overrides: Sequence[str]
    resume: bool = False

    def run(self) -> int:
        """Judge; returns the number of lines that could not be judged.

        Raises:
            ConfigError, InputError: see `rrm_reward.rank`.
        """
        config = self._config()
        if config.position.path is None and self.output is not None:
            config.position.path = beside(self.output)
        if self.resume and config.judge.store is None:
            if self.output is None:
                raise ConfigError(
                    "--resume", True, "keeps verdicts beside --output; name one, or set judge.store"
                )
            config.judge.store = f"{self.output}.verdicts"
        began = time.monotonic()
        arena = build_arena(config)
        with open_input(self.input) as file, _progress(self.input) as show:
            tally = asyncio.run(self._judge(arena, file, show))
        for text in tally.summary(time.monotonic() - began):
            print(f"rrm-reward: {text}", file=sys.stderr)
        learnt = arena.snapshot()
        if "position_bias" in learnt:
            bias, stderr = learnt["position_bias"], learnt["position_bias_stderr"]
            print(
                f"rrm-reward: position bias {bias:+.2f} +- {stderr:.2f} log-odds for Assistant 1",
                file=sys.stderr,
            )
        return tally.malformed

    def dry_run(self) -> int:
        """Print what `run` would take; returns the number of lines that could not be judged.

        Raises:
            ConfigError: see `rrm_reward.config`.
        """
        config = self._config({"judge.model": "unnamed", "judge.urls": "[http://unnamed/v1]"})
        with open_input(self.input) as file, _progress("-"):
            counted = plan(build_arena(config), config.judge, lines(file))
        asked = f"votes {config.judge.votes}, order {config.judge.order}"
        print(f"groups       {counted.groups}")
        print(f"responses    {counted.responses} ({counted.duplicates} of them duplicates)")
        print(f"comparisons  {counted.comparisons} ({config.tournament.name})")
        print(f"calls        {counted.calls} ({asked}; votes without a verdict are asked again on top)")
        if counted.malformed:
            print(f"malformed    {counted.malformed} lines")
        return counted.malformed

    def _config(self, placeholders: Mapping[str, str] | None = None) -> RRMConfig:
        """The settings; a dry run needs no judge and gets placeholders where none is named."""
        overrides = [*self.overrides]
        missing = dict(placeholders or {})
        while True:
            try:
                return load_options(self.file, self.options, overrides)
            except ConfigError as error:
                if error.value or error.key not in missing:
                    raise
                overrides.append(f"{error.key}={missing.pop(error.key)}")

    async def _judge(self, arena: Arena, file: BinaryIO, show: Callable[[Tally], None]) -> Tally:
        # The judge first: one that cannot be reached must not leave an empty output behind.
        async with arena:
            with self._open_output() as output:
                return await rank(arena, stream(file), output, show)

    @contextlib.contextmanager
    def _open_output(self) -> Iterator[Output]:
        if self.output is None:
            yield OutputStream(sys.stdout.buffer)
            return
        if Path(self.output).exists() and self.input != "-" and Path(self.output).samefile(self.input):
            raise ConfigError("--output", self.output, "is the input; name another file")
        with OutputFile(self.output) as output:
            yield output


def beside(output: str) -> str:
    """Where the position bias of this output is kept; an output that starts afresh takes none from an older one."""
    path = Path(f"{output}.position.json")
    if not Path(output).exists() or not Path(output).stat().st_size:
        path.unlink(missing_ok=True)
    return str(path)


@contextlib.contextmanager
def _progress(path: str) -> Iterator[Callable[[Tally], None]]:
    """Logging to standard error and, if that is a terminal, a bar; yields what shows the sums so far."""
    logging.basicConfig(level=logging.WARNING, format="rrm-reward: %(message)s")
    if not sys.stderr.isatty():
        yield lambda tally: None
        return
    # Costs a tenth of a second to import, which a run without a terminal need not pay.
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    began = time.monotonic()
    with logging_redirect_tqdm(), tqdm(total=count_lines(path), unit=" groups", dynamic_ncols=True) as bar:

        def show(tally: Tally) -> None:
            rate = tally.comparisons / max(time.monotonic() - began, 1e-9)
            bar.set_postfix_str(f"{rate:.1f} comparisons/s, {tally.missing} missing", refresh=False)
            bar.update(tally.finished - bar.n)

        yield show
