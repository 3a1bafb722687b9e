"""OpenRLHF's own client against the service: the contract is read from nobody's documentation."""

import asyncio
import json
import math

import pytest

from rrm_reward.types import Group
from tests.openrlhf.environment import PYTHON, ROOT, environment
from tests.service.serving import live, service

GROUPS = [
    ["What is 2 plus 2?\n", ["4", "22", "4 I think", "no idea"]],
    ["What is 3 plus 2?\n", ["5", "5", "32", ""]],
]


async def through_openrlhf(url):
    process = await asyncio.create_subprocess_exec(
        *(str(PYTHON), "-m", "tests.service.through_openrlhf"),
        cwd=ROOT,
        env=environment(),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    told = json.dumps({"url": url, "groups": GROUPS}).encode()
    out, err = await asyncio.wait_for(process.communicate(told), 1500)
    assert process.returncode == 0, err.decode()[-4000:]
    return json.loads(out.splitlines()[-1])


@pytest.mark.trainer
async def test_openrlhfs_client_gets_every_samples_reward():
    served = service(group_size=4)
    async with live(served) as url:
        found = await through_openrlhf(f"{url}/v1/openrlhf")
    assert served.openrlhf.counts["unsplit"] == 0
    assert served.desk.held == 0
    for (prompt, texts), samples in zip(GROUPS, found, strict=True):
        expected = await service().arena.judge(Group("g", prompt, texts))
        assert [reward for reward, _, _ in samples] == expected.rewards.tolist()
        for _, score, logs in samples:
            assert 0.0 < score < 1.0
            assert logs["rrm_known"] == 1.0
            assert all(math.isfinite(value) for value in logs.values())
