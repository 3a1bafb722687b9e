from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rrm_reward.cluster import JudgeGroup
from rrm_reward.config import load

ENGINE = "tests.support.fake_engine:FakeEngine"


@pytest.fixture(scope="module")
def cluster() -> Iterator[object]:
    """Two nodes of four GPUs that do not exist; a third may come and go."""
    # read when Ray is imported: no token file in the home folder, no idle workers, no dashboard
    os.environ["RAY_AUTH_MODE"] = "disabled"
    os.environ["RAY_prestart_worker_first_driver"] = "0"  # noqa: SIM112  (Ray's own spelling)
    # as Ray did before 2.56: devices are hidden from actors that hold none, unless they are started otherwise
    os.environ["RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"] = "1"
    import ray
    from ray.cluster_utils import Cluster

    # Ray's sockets live here, and the path of a socket has 107 characters at most
    folder = tempfile.mkdtemp(prefix="rrm-ray-", dir="/tmp")
    # where Ray notes the address, whatever its own folder is
    Path(tempfile.gettempdir(), "ray").mkdir(exist_ok=True)
    # other tests of this process may have left their own
    ray.shutdown()
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 16,
            "num_gpus": 4,
            "include_dashboard": False,
            "temp_dir": folder,
            "_system_config": {"health_check_initial_delay_ms": 1000, "health_check_period_ms": 1000},
        },
    )
    cluster.add_node(num_cpus=16, num_gpus=4)
    ray.init(address=cluster.address, log_to_driver=False)
    cluster.wait_for_nodes(timeout=300)
    yield cluster
    ray.shutdown()
    cluster.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


class Orders:
    """The folder through which a test speaks with fake engines in other processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def give(self, order: str, pid: int | None = None) -> None:
        (self.folder / (order if pid is None else f"{order}-{pid}")).touch()

    def withdraw(self, order: str, pid: int | None = None) -> None:
        (self.folder / (order if pid is None else f"{order}-{pid}")).unlink()

    def log(self, word: str) -> list[list[str]]:
        """What engines noted, by the first word."""
        file = self.folder / "log"
        lines = [line.split(" ") for line in file.read_text().splitlines()] if file.exists() else []
        return [line[1:] for line in lines if line[0] == word]

    def votes(self, word: str = "vote") -> list[list[str]]:
        return [line for line in self.log(word) if line[1] != "probe"]


@pytest.fixture
def orders(tmp_path: Path) -> Orders:
    return Orders(tmp_path)


MakeGroup = Callable[..., JudgeGroup]


@pytest.fixture
def make_group(orders: Orders) -> MakeGroup:
    """A group of fake engines; `settings` are those of ``judge.cluster``."""

    def make(
        *settings: str,
        model: str = "RRM",
        timeout: float = 60.0,
        placement_groups: object = (),
        **engine: object,
    ) -> JudgeGroup:
        config = load(
            overrides=[
                "judge.backend=ray",
                f"judge.model={model}",
                f"judge.timeout={timeout}",
                f"judge.cluster.engine={ENGINE}",
                f"judge.cluster.engine_args.orders={orders.folder}",
                *(f"judge.cluster.engine_args.{key}={value}" for key, value in engine.items()),
                "judge.cluster.start_timeout=120",
                *(f"judge.cluster.{setting}" for setting in settings),
            ]
        )
        return JudgeGroup.from_config(config.judge, placement_groups=placement_groups)

    return make
