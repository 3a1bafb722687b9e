"""The input as a stream: one line in memory at a time, and a slow pipe never holds up the judging."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import BinaryIO

from rrm_reward.errors import ConfigError

NumberedLine = tuple[int, bytes]


@contextmanager
def open_input(path: str) -> Iterator[BinaryIO]:
    """The input as bytes; ``-`` is standard input.

    Raises:
        ConfigError: it cannot be read.
    """
    if path == "-":
        # A reader of our own: at exit Python wants the lock of sys.stdin, which a thread that still waits for
        # its next line would hold.
        yield open(sys.stdin.fileno(), "rb", closefd=False)  # noqa: SIM115
        return
    try:
        file = open(path, "rb")  # noqa: SIM115 - what goes wrong later is another error
    except OSError as error:
        raise ConfigError("IN.jsonl", path, error.strerror or str(error)) from error
    with file:
        yield file


def lines(file: BinaryIO) -> Iterator[NumberedLine]:
    """Lines that are not blank, with their numbers from 1."""
    for number, raw in enumerate(file, 1):
        if not raw.isspace():
            yield number, raw


async def stream(file: BinaryIO) -> AsyncIterator[NumberedLine]:
    """As `lines`, without ever blocking the event loop.

    A regular file is read in place. Anything else (a pipe, a terminal) may make us wait minutes for its
    writer, and requests in flight must not time out meanwhile: a thread reads it.
    """
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        for line in lines(file):
            yield line
        return
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[NumberedLine | BaseException | None] = asyncio.Queue()
    # One line ahead and no more: a writer that is faster than the judge must wait, not fill our memory.
    room = threading.Semaphore(1)

    def pump() -> None:
        end: BaseException | None = None
        try:
            for line in lines(file):
                room.acquire()
                loop.call_soon_threadsafe(arrived.put_nowait, line)
        except BaseException as error:
            end = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(arrived.put_nowait, end)

    # A daemon, as it may wait for the writer for ever: Ctrl-C must end us all the same.
    threading.Thread(target=pump, name="rrm-reward input", daemon=True).start()
    while (came := await arrived.get()) is not None:
        if isinstance(came, BaseException):
            raise came
        room.release()
        yield came


def count_lines(path: str) -> int | None:
    """Number of lines of a regular file, for the progress bar; None for anything else."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
        with open(path, "rb") as file:
            return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
    except OSError:
        return None
