"""Devices, variables and versions: what contradicts what, and what to do about it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rrm_reward import cli
from rrm_reward.cluster import Devices, check_environment, detect_devices
from rrm_reward.cluster._devices import CUDA, HIP, OPT_OUTS, OVERRIDE_ON_ZERO, ROCR, VARIABLES
from rrm_reward.cluster._doctor import examine
from rrm_reward.cluster._surroundings import NO_CLUSTER
from rrm_reward.cluster._versions import CLASHES, check_versions, installed_versions, release_of

NO_HIP, NO_ROCR, NO_CUDA = OPT_OUTS
AMD = Devices("rocm", 8, ("AMD Instinct MI300X",) * 8)
NVIDIA = Devices("cuda", 8)


def found(environment, devices, **more):
    return {f.name: f for f in check_environment(environment, devices, **more)}


def add_nvidia(root: Path, count: int) -> None:
    (root / "dev").mkdir(exist_ok=True)
    for name in (*(f"nvidia{index}" for index in range(count)), "nvidiactl"):
        (root / "dev" / name).touch()


def add_amd(root: Path, *gpu_ids: str) -> None:
    """AMD's driver with its nodes; those of processors have the id 0."""
    (root / "dev").mkdir(exist_ok=True)
    (root / "dev/kfd").touch()
    for node, gpu_id in enumerate(gpu_ids):
        folder = root / f"sys/class/kfd/kfd/topology/nodes/{node}"
        folder.mkdir(parents=True)
        (folder / "gpu_id").write_text(f"{gpu_id}\n")
        (folder / "name").write_text("aqua_vanjaram\n")


def test_devices_are_told_by_the_files_of_their_drivers(tmp_path: Path):
    assert detect_devices(tmp_path).kind == "cpu"
    add_amd(tmp_path, "0", "51140", "32750")
    assert detect_devices(tmp_path) == Devices("rocm", 2, ("aqua_vanjaram",) * 2)


def test_drivers_of_both_are_taken_for_what_torch_was_built_for(tmp_path: Path, monkeypatch):
    add_nvidia(tmp_path, 2)
    add_amd(tmp_path, "0", "51140")
    for built_for, devices in (
        ("rocm", Devices("rocm", 1, ("aqua_vanjaram",))),
        ("cuda", Devices("cuda", 2)),
        ("cpu", Devices("cuda", 2)),
        (None, Devices("cuda", 2)),
    ):
        monkeypatch.setattr("rrm_reward.cluster._devices.torch_kind", lambda built_for=built_for: built_for)
        assert detect_devices(tmp_path) == devices


def test_driver_of_amd_without_a_gpu_of_amd_is_not_rocm(tmp_path: Path):
    add_amd(tmp_path, "0", "0")
    assert detect_devices(tmp_path) == Devices("cpu")
    add_nvidia(tmp_path, 2)
    assert detect_devices(tmp_path) == Devices("cuda", 2)


def test_driver_of_amd_whose_nodes_cannot_be_seen_is_rocm_with_an_unknown_number_of_gpus(tmp_path: Path):
    add_amd(tmp_path)
    assert detect_devices(tmp_path) == Devices("rocm", 0)


def test_gpu_that_a_container_may_not_read_is_not_one_of_its_own(tmp_path: Path):
    add_amd(tmp_path, "0", "51140")
    (tmp_path / "sys/class/kfd/kfd/topology/nodes/2/gpu_id").mkdir(parents=True)  # reading it is an OSError
    assert detect_devices(tmp_path) == Devices("rocm", 1, ("aqua_vanjaram",))


@pytest.mark.parametrize(
    ("environment", "devices"),
    [
        ({}, AMD),
        ({}, NVIDIA),
        ({OVERRIDE_ON_ZERO: "1"}, NVIDIA),  # replicas that it would hide devices from are started with 0
        ({HIP: "0,1,2,3"}, AMD),
        ({HIP: "0,1", CUDA: "0,1"}, AMD),
        ({NO_HIP: "1"}, AMD),
        ({NO_HIP: "1", NO_ROCR: "1", NO_CUDA: "1"}, AMD),  # as verl sets them
        ({CUDA: "4,5"}, NVIDIA),
        ({NO_CUDA: "1"}, NVIDIA),
        ({ROCR: "0", HIP: "1", CUDA: "2"}, Devices("cpu")),
    ],
)
def test_environments_that_work_are_left_alone(environment, devices):
    assert found(environment, devices) == {}


@pytest.mark.parametrize(
    ("environment", "devices", "name", "advice"),
    [
        ({ROCR: "0,1"}, AMD, ROCR, f"set {HIP} instead"),
        ({ROCR: "0,1", HIP: "0"}, AMD, ROCR, "unset it"),
        ({HIP: "0,1", CUDA: "2,3"}, AMD, CUDA, "stop if they differ"),
        ({NO_ROCR: "1"}, AMD, NO_ROCR, f"set {NO_HIP}"),
        ({NO_CUDA: "1"}, AMD, NO_CUDA, f"set {NO_HIP}"),
        ({HIP: ""}, AMD, HIP, "hides every GPU"),
        ({HIP: "0,0"}, AMD, HIP, "twice"),
        ({HIP: "7,8"}, AMD, HIP, "there are 8"),
        ({CUDA: ""}, NVIDIA, CUDA, "hides every GPU"),
        ({CUDA: "0,1", HIP: "2,3"}, NVIDIA, HIP, "unset it"),
        ({NO_HIP: "1"}, NVIDIA, NO_HIP, "unset it"),
    ],
)
def test_environments_that_contradict_themselves_are_fatal_and_say_what_to_change(
    environment, devices, name, advice
):
    findings = found(environment, devices)
    assert list(findings) == [name]
    assert findings[name].fatal
    assert advice in findings[name].fix


def test_a_judge_without_gpus_minds_none_of_it():
    assert found({ROCR: "0"}, AMD, gpus=0) == {}


def test_releases_are_compared_as_numbers():
    assert release_of("2.13.0+cpu") == (2, 13, 0)
    assert release_of("0.10.0") > release_of("0.9.9")
    assert release_of("unknown") == (0,)


def test_verl_beside_a_trl_that_it_cannot_import_is_found():
    fine = {"verl": "0.9.1", "trl": "1.12.0", "torch": "2.13.0"}
    assert check_versions(fine) == []
    (finding,) = check_versions({**fine, "trl": "1.13.0"})
    assert finding.name == "verl 0.9.1 with trl 1.13.0"
    assert "trl<1.13" in finding.fix


def test_this_environment_is_one_that_works():
    versions = installed_versions()
    assert {"torch", "ray", "verl"} <= set(versions)
    assert check_versions(versions) == []


@pytest.mark.parametrize("clash", CLASHES, ids=lambda clash: f"{clash.package}-{clash.other}")
def test_every_clash_is_found_and_an_absent_package_never_clashes(clash):
    def inside(bounds):
        return ".".join(map(str, bounds[0]))

    versions = {clash.package: inside(clash.ours), clash.other: inside(clash.theirs)}
    assert clash.fix in [finding.fix for finding in check_versions(versions)]
    assert check_versions({clash.package: versions[clash.package]}) == []


def test_torch_for_other_devices_than_there_are_is_wrong():
    (finding,) = examine({}, AMD, {}, "cuda")
    assert (finding.name, finding.fatal) == ("torch", True)
    assert "torch's build for rocm" in finding.fix
    assert examine({}, AMD, {}, "rocm") == []
    assert not examine({}, Devices("cpu"), {}, "cuda")[0].fatal


def test_verl_on_gpus_without_flash_attention_is_a_warning():
    (finding,) = examine({}, NVIDIA, {"verl": "0.9.1"}, "cuda")
    assert (finding.name, finding.fatal) == ("flash-attn", False)
    assert "attn_implementation=sdpa" in finding.fix
    assert examine({}, NVIDIA, {"verl": "0.9.1", "flash-attn": "2.8.3"}, "cuda") == []
    assert examine({}, Devices("cpu"), {"verl": "0.9.1"}, "cpu") == []


@pytest.fixture
def no_ray(monkeypatch):
    """Whatever else runs on this machine is none of a test's business."""
    monkeypatch.setattr("rrm_reward.cluster._doctor.find_cluster", lambda _: NO_CLUSTER)


@pytest.mark.usefixtures("no_ray")
def test_doctor_prints_devices_variables_and_versions_and_finds_nothing_wrong_here(capsys, monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "devices    " in out
    assert "none that select devices" in out
    assert "ray        no cluster runs here" in out
    assert "memory     " in out
    assert "verl 0.9" in out
    assert out.rstrip().endswith("wrong      nothing")


@pytest.mark.usefixtures("no_ray")
def test_doctor_exits_with_1_and_names_the_fix_where_something_is_wrong(capsys, monkeypatch):
    monkeypatch.setattr("rrm_reward.cluster._doctor.detect_devices", lambda: AMD)
    monkeypatch.setenv(ROCR, "0,1")
    monkeypatch.delenv(HIP, raising=False)
    assert cli.main(["doctor"]) == 1
    assert f"wrong      {ROCR}: unset it and set {HIP} instead" in capsys.readouterr().out


AMD_PROBE = """
import os, ray
from rrm_reward.cluster import Devices, check_environment
from rrm_reward.cluster._placement import Place

ray.init(include_dashboard=False, log_to_driver=False, num_cpus=2)
assert ray.cluster_resources()["GPU"] == 4.0

class Replica:
    def look(self):
        env = dict(os.environ)
        fatal = [f.name for f in check_environment(env, Devices("rocm", 4)) if f.fatal]
        return ray.get_gpu_ids(), env.get("HIP_VISIBLE_DEVICES"), fatal

def place(**variables):
    options = dict(num_gpus=0.5, num_cpus=0, runtime_env={"env_vars": variables})
    return ray.get(ray.remote(Replica).options(**options).remote().look.remote(), timeout=300)

class Parent:
    def look(self):
        return ray.get(ray.remote(Replica).options(**Place(0.5, 0.0).options()).remote().look.remote(), timeout=300)

opted_out = dict(num_cpus=0, runtime_env={"env_vars": {"RAY_EXPERIMENTAL_NOSET_HIP_VISIBLE_DEVICES": "1"}})
print("no_job", ray.get(ray.remote(Parent).options(**opted_out).remote().look.remote(), timeout=600))
print("plain", place())
print("no_cuda", place(RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES="1"))
print("no_hip", place(RAY_EXPERIMENTAL_NOSET_HIP_VISIBLE_DEVICES="1"))
"""


@pytest.mark.trainer
def test_rays_own_code_for_amd_gives_gpus_to_a_request_for_gpu_and_agrees_with_our_checks(tmp_path: Path):
    """Ray believes in four AMD GPUs: only their count is faked, all that follows from it is Ray's."""
    root = Path(__file__).parents[2]
    environment = {
        **{key: value for key, value in os.environ.items() if key not in VARIABLES},
        "PYTHONPATH": os.pathsep.join([str(root / "tests/support/fake_amd"), str(root)]),
        "FAKE_AMD_GPUS": "4",
        "RAY_AUTH_MODE": "disabled",
        "RAY_prestart_worker_first_driver": "0",
    }
    done = subprocess.run(
        [sys.executable, "-c", AMD_PROBE], env=environment, capture_output=True, text=True, timeout=1500
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines = dict(line.split(" ", 1) for line in done.stdout.splitlines() if line.startswith(("plain", "no_")))
    gpu_ids, hip, fatal = eval(lines["plain"])
    assert hip == ",".join(map(str, gpu_ids))
    assert fatal == []
    # the opt-out for CUDA has no effect: HIP is set all the same, and our check says so
    _, hip, fatal = eval(lines["no_cuda"])
    assert hip is not None
    assert fatal == [NO_CUDA]
    # a job that opts out does so for our replicas, too, unless they say otherwise
    gpu_ids, hip, fatal = eval(lines["no_job"])
    assert hip == ",".join(map(str, gpu_ids))
    assert fatal == []
    _, hip, fatal = eval(lines["no_hip"])
    assert hip is None
    assert fatal == []
