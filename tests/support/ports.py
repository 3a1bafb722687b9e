"""Ports for servers that take a number and no socket."""

from __future__ import annotations

import random
import socket

_EPHEMERAL = 32768
"""From here on Linux gives ports away by itself, to anyone, between our look and the server's start."""


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens, and which nobody gets who does not ask for it by number."""
    while True:
        port = random.SystemRandom().randrange(20_000, _EPHEMERAL)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
