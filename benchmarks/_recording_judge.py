"""The loopback judge with answers as long as those of an RRM, which keeps the bytes of every request body.

    python -m benchmarks._recording_judge BODIES.jsonl LATENCY

The first line of its output is the URL. SIGUSR1 makes it write the bodies that came, one a line, print how
many, and record no more; SIGTERM ends it.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from aiohttp import web

from tests.support import loopback_judge

ANSWER_CHARS = 1500


class RecordingJudge(loopback_judge.LoopbackJudge):
    def __init__(self, latency: float) -> None:
        super().__init__(latency=latency)
        self.raw: list[bytes] = []
        self.recording = True

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self.recording and request.path.endswith("/chat/completions"):
            self.raw.append(await request.read())
        return await super()._handle(request)

    def write(self, path: str) -> None:
        with open(path, "wb") as file:
            file.writelines(body + b"\n" for body in self.raw)
        print(len(self.raw), flush=True)
        self.raw.clear()
        self.recording = False


async def serve(path: str, latency: float) -> None:
    ended = asyncio.Event()
    async with RecordingJudge(latency) as judge:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, judge.write, path)
        print(judge.url, flush=True)
        await ended.wait()


def main() -> None:
    sentence = loopback_judge._REASONING + " "
    loopback_judge._REASONING = (sentence * (ANSWER_CHARS // len(sentence) + 1))[:ANSWER_CHARS]
    asyncio.run(serve(sys.argv[1], float(sys.argv[2])))


if __name__ == "__main__":
    main()
