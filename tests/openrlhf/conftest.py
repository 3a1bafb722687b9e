from __future__ import annotations

import os

# `contract` runs in OpenRLHF's own environment, started by `test_contract.py`
collect_ignore = [] if "RRM_TEST_OPENRLHF_VERSION" in os.environ else ["contract"]
