"""The reward over HTTP: ``rrm-reward serve``.

    rrm-reward serve --judge http://judge:8000/v1 --model Reward-Reasoning/RRM-7B --port 8080

- ``POST /v1/rewards``: a whole group, as a line of ``rrm-reward rank``, answered by a line of its output.
- ``POST /v1/samples``: one sample of a group, answered when the group is judged; may be sent again at any time.
- ``POST /v1/openrlhf``: OpenRLHF's contract for remote reward models.
- ``GET /health``, ``GET /metrics`` (Prometheus), ``GET /openapi.json``.

The rooms: `_reading` turns bodies into values or says what is wrong with them, `_desk` holds samples and counts them,
`_seats` finds the group of an OpenRLHF sample, which has no name, `_service` is what the endpoints share, `_app`
speaks HTTP, `_gate` lets requests in, `_metrics` shows numbers, `_openapi` is the contract, `_run` is the process.

Needs the extra ``service``: starlette, uvicorn, prometheus-client.
"""

from rrm_reward.service._app import make_app
from rrm_reward.service._run import serve
from rrm_reward.service._service import Service

__all__ = ["Service", "make_app", "serve"]
