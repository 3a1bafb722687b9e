"""Groups in a file, rewards in another: what ``rrm-reward rank`` does.

One line of the input is one group, one line of the output is its result, in the same order:

    {"id": "q1", "query": "What is 2 + 2?", "responses": ["4", "5", null]}
    {"id": "q1", "rewards": [1.0, 0.0, null], "ratings": [1.0, 0.0, null], "stderr": [0.0, 0.0, null],
     "comparisons": 1, "calls": 1, "missing": 0}

- ``query`` is a text or a list of chat messages, a response is a text or null (a member that failed). Other
  fields are ignored. Ids are labels: strings or integers, which may repeat. Blank lines are skipped.
- Unknown numbers are null, never 0.
- A line that cannot be judged gets ``{"id": ..., "error": "line 7: responses[2] must be ..."}``, so that line
  k of the output always belongs to group k of the input.
- An output that exists is continued: what it holds is not judged again, with an error or without. Mended
  lines go into a file of their own.

The rooms: `_command` is the whole of the command, `_lines` reads and writes single lines (pure), `_reader`
streams the input, `_output` keeps the order, `_file` survives a crash, `_drive` judges, `_plan` counts
without judging, `_tally` sums up.
"""

from rrm_reward.rank._drive import rank
from rrm_reward.rank._file import OutputFile
from rrm_reward.rank._lines import Line, error_row, parse_line, result_row
from rrm_reward.rank._output import OutputStream
from rrm_reward.rank._plan import Plan, plan
from rrm_reward.rank._tally import Tally

__all__ = [
    "Line",
    "OutputFile",
    "OutputStream",
    "Plan",
    "Tally",
    "error_row",
    "parse_line",
    "plan",
    "rank",
    "result_row",
]
