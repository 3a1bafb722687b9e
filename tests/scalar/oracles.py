"""Functions that tests name in ``judge.function``."""


def longer(query: str, a: str, b: str) -> float:
    return 0.5 if len(a) == len(b) else float(len(a) > len(b))


def length(query: str, response: str) -> float:
    return len(response) / 10


async def later(query: str, response: str) -> float:
    return float(len(response))


def knows_little(query: str, response: str) -> float | None:
    if "crash" in response:
        raise RuntimeError("told to")
    return None if "?" in response else 1.0 * len(response)


def one(response):
    return 0.0


not_callable = 3
