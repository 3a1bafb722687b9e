"""No process of an engine outlives its replica, however that died.

vLLM's engine runs in child processes. They notice the death of their parent once they serve, but not while they load,
and then tens of gigabytes stay occupied by nobody. ``PR_SET_PDEATHSIG`` would have to be set in the child, which is
vLLM's, and fires already when the thread ends that started it. So a small process watches instead: every descendant
inherits a mark in its environment, and when the replica is gone, whatever still bears the mark is killed.

Run as a script in an isolated interpreter, this file is that process; it imports nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid

MARK = "RRM_REWARD_REPLICA"
_POLL_SECONDS = 0.5
_QUIET_SCANS = 4


def guard_descendants() -> None:
    """From now on, descendants of this process that were started by ``exec`` die with it."""
    mark = uuid.uuid4().hex
    unmarked = {key: value for key, value in os.environ.items() if key != MARK}
    subprocess.Popen(
        [sys.executable, "-I", "-S", __file__, str(os.getpid()), mark],
        env=unmarked,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.environ[MARK] = mark


def marked(mark: str) -> list[int]:
    """Processes that bear the mark (Linux; elsewhere none are found)."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit():
            with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as environment:
                if wanted in environment.read().split(b"\0"):
                    found.append(int(name))
    return found


def _watch(parent: int, mark: str) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_SECONDS)
    quiet = 0
    while quiet < _QUIET_SCANS:  # one that is just being started shows its mark a little later
        left = marked(mark)
        quiet = 0 if left else quiet + 1
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL_SECONDS / 2)


if __name__ == "__main__":
    _watch(int(sys.argv[1]), sys.argv[2])
