"""Which replica gets a call: consistent hashing with bounded loads, as a state machine without Ray.

All matches of a group share the frame and the query of their prompts, and those with the same Assistant 1 his response
too: a replica that has seen them need not prefill them again. So every prefix has its own order of replicas
(rendezvous hashing: Thaler and Ravishankar 1998), and a call goes to the first that is not too full. Full means more
pending votes than ``slack`` times the mean, rounded up, over those that are in (Mirrokni, Thorup and Zadimoghaddam,
"Consistent hashing with bounded loads", 2016): one popular prefix cannot starve the others, and a replica that is lost
moves only its own prefixes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rrm_reward.judge import Message

_RESPONSES = "\n\n## Assistant responses\n\n"
"""Where the query ends in a prompt of `rrm_reward.judge.build_messages`."""


def prefix_of(messages: Sequence[Message]) -> str:
    """What the prompts of a group have in common: everything before the first response."""
    *before, last = messages
    return "\x1f".join([*(m["content"] for m in before), last["content"].partition(_RESPONSES)[0]])


@dataclass(slots=True, eq=False)
class Member:
    """A replica as the roster sees it.

    Attributes:
        name: stays the same when the replica is restarted.
        pending: votes it draws now.
        given: calls it was ever given.
        present: whether it takes calls.
    """

    name: str
    pending: int = 0
    given: int = 0
    present: bool = False


class Roster:
    """Chooses members. Every `acquire` that gives one is ended by one `release`.

    Args:
        names: of all members; none is present at first.
        slack: at least 1; how far above the mean load a member may be for the sake of its prefixes.
    """

    def __init__(self, names: Sequence[str], *, slack: float = 1.25) -> None:
        self.members = [Member(name) for name in names]
        self._slack = slack

    @property
    def available(self) -> bool:
        """True if at least one member is present."""
        return any(member.present for member in self.members)

    def acquire(
        self, prefix: str, avoid: Collection[Member] = (), votes: int = 1, prefer: Member | None = None
    ) -> Member | None:
        """The member for one call, its votes counted as pending there; None while nobody is present.

        Args:
            prefix: see `prefix_of`.
            avoid: members that failed this call already; chosen only if no other is present.
            votes: of this call.
            prefer: taken if it is there, however full.
        """
        present = [member for member in self.members if member.present]
        candidates = [member for member in present if member not in avoid] or present
        if not candidates:
            return None
        limit = math.ceil(self._slack * (votes + sum(m.pending for m in candidates)) / len(candidates))
        free = [member for member in candidates if member.pending < limit]
        ranked = max(free, key=lambda member: _weight(prefix, member.name))
        chosen = prefer if prefer is not None and prefer in candidates else ranked
        chosen.pending += votes
        chosen.given += 1
        return chosen

    def release(self, member: Member, votes: int = 1) -> None:
        """The call is over, however it ended; `votes` as in `acquire`."""
        member.pending -= votes


def _weight(prefix: str, name: str) -> bytes:
    return hashlib.blake2b(f"{name}\x1f{prefix}".encode("utf-8", "replace"), digest_size=8).digest()
