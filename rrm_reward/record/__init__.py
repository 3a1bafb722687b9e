"""The run log: every judgment in SQLite, as soon as it was paid for, and rated again without the judge.

    for logged in read_groups("run.sqlite"):
        make_rating("bradley_terry")(logged.size, logged.outcomes, logged.position)

SQLite because one file survives a crash in the middle of a write (write-ahead log), is read while it is written, and
needs no library that Python does not bring. `_schema` says what is in it, `RunLog` writes it in a thread, `read_groups`
reads it, `replay` plays a schedule from it.
"""

from rrm_reward.record._reader import LoggedGroup, count_lost, read_groups, read_settings
from rrm_reward.record._recorder import Recorder
from rrm_reward.record._replay import Replayed, replay
from rrm_reward.record._writer import FLUSH_SECONDS, RunLog

__all__ = [
    "FLUSH_SECONDS",
    "LoggedGroup",
    "Recorder",
    "Replayed",
    "RunLog",
    "count_lost",
    "read_groups",
    "read_settings",
    "replay",
]
