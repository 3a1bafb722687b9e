"""Is the judge well? Gauges of what it did lately, and warnings with the fix when it is not.

    arena.health.gauges()["rrm/flip_rate"]

A judge that prefers whoever stands first, contradicts itself or is cut off looks, to a trainer, like a policy without
a signal. The arena tells `Health` of every judgment and every group; what comes of it is in `Arena.snapshot` (with
``rrm/`` written as ``health_``), and so in every trainer's log and in ``/metrics``. `GAUGES` says what each number
means; `rrm_reward.config.HealthConfig` holds the thresholds.

All memory is bounded, and all numbers are of late: an observation counts half after `HALF_LIFE` more.
"""

from rrm_reward.health._health import GAUGES, HALF_LIFE, HEADLINES, Health, plain_name

__all__ = ["GAUGES", "HALF_LIFE", "HEADLINES", "Health", "plain_name"]
