"""One seed: everything random derives from (seed, what it is for), never from arrival or process."""

import hashlib


def derive_seed(seed: int, *parts: str | int) -> int:
    """A 63-bit seed for one purpose, stable over processes, machines and Python versions.

    Args:
        seed: the user's one seed.
        parts: what the derived seed is for, for example ``("bracket", query)``. Parts are length-prefixed,
            so ``("ab", "c")`` and ``("a", "bc")`` give unrelated seeds.

    Returns:
        An integer in [0, 2**63), from BLAKE2b of the parts keyed by the seed.
    """
    digest = hashlib.blake2b(digest_size=8)
    for part in (seed, *parts):
        piece = f"{type(part).__name__}:{part}".encode("utf-8", "surrogatepass")
        digest.update(len(piece).to_bytes(8, "big"))
        digest.update(piece)
    return int.from_bytes(digest.digest(), "big") >> 1
