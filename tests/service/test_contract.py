"""The OpenAPI document and the application say the same (schemathesis).

Whole groups may have six members here. Single samples are those of groups of one: what the document cannot say (a slot
is less than its size, siblings agree) is tested in `test_app`, and nobody waits for a sibling that is not generated.
"""

import schemathesis
from hypothesis import HealthCheck, settings

from rrm_reward.service import make_app
from tests.service.serving import service

GROUPS = schemathesis.openapi.from_asgi("/openapi.json", make_app(service(max_group=6)))
SINGLES = schemathesis.openapi.from_asgi("/openapi.json", make_app(service(max_group=1, group_size=1)))
SINGLE_PATHS = ["/v1/samples", "/v1/openrlhf"]

bounded = settings(max_examples=25, derandomize=True, suppress_health_check=list(HealthCheck))


@GROUPS.exclude(path=SINGLE_PATHS).parametrize()
@bounded
def test_every_answer_to_a_group_is_one_that_the_document_promises(case):
    case.call_and_validate()


@SINGLES.include(path=SINGLE_PATHS).parametrize()
@bounded
def test_every_answer_to_a_sample_is_one_that_the_document_promises(case):
    case.call_and_validate()
