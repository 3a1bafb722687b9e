"""Container files and doctor's table of clashes against what the installed verl 0.9.1 says of itself."""

from __future__ import annotations

import re
from importlib.metadata import distribution

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from recipes.miniature.verl_cpu.launch import ROOT
from rrm_reward.cluster._versions import check_versions

VERL = distribution("verl")
EVERY = [Requirement(line) for line in VERL.requires or []]
NEEDED = {canonicalize_name(r.name): r.specifier for r in EVERY if r.marker is None}
WITH_VLLM = {
    canonicalize_name(r.name): r.specifier
    for r in EVERY
    if r.marker is not None and r.marker.evaluate({"extra": "vllm"})
}
FLASH_ATTENTION = next(r.specifier for r in EVERY if r.name == "flash-attn")
INSTALLED_BESIDE = {
    canonicalize_name(r.name): r.specifier
    for line in (ROOT / "recipes/verl/requirements.txt").read_text().splitlines()
    if line and not line.startswith("#")
    for r in [Requirement(line)]
}
FILES = {vendor: (ROOT / f"recipes/{vendor}/Containerfile").read_text() for vendor in ("cuda", "rocm")}
CONTAINERS = pytest.mark.parametrize("text", FILES.values(), ids=FILES)


def test_verl_is_the_release_whose_metadata_this_reads() -> None:
    assert VERL.version == "0.9.1"
    assert str(WITH_VLLM["vllm"]) == "==0.24.0"


@CONTAINERS
def test_a_container_is_built_on_the_vllm_that_verl_pins(text: str) -> None:
    (tag,) = re.findall(r"^FROM vllm/vllm-openai(?:-rocm)?:v(\S+)$", text, re.MULTILINE)
    assert tag in WITH_VLLM["vllm"]


@CONTAINERS
def test_a_container_has_this_verl_and_what_it_needs(text: str) -> None:
    assert re.findall(r"--no-deps verl==(\S+)", text) == [VERL.version]
    assert "pip install --no-cache-dir -r recipes/verl/requirements.txt" in text


def test_every_dependency_of_verl_is_installed_beside_it() -> None:
    assert sorted(set(NEEDED) - set(INSTALLED_BESIDE)) == []


@pytest.mark.parametrize("package", sorted(NEEDED))
def test_what_is_installed_beside_verl_admits_no_release_that_verl_does_not(package: str) -> None:
    ours, theirs = INSTALLED_BESIDE[package], NEEDED[package]
    pins = [s.version for s in ours if s.operator == "=="]
    if pins:
        assert pins[0] in theirs
        assert pins[0] in WITH_VLLM.get(package, theirs)
    else:
        assert ours == theirs


def test_tensordict_suits_both_verl_and_transferqueue() -> None:
    (pin,) = INSTALLED_BESIDE["tensordict"]
    queue = distribution("TransferQueue")
    (theirs,) = (
        r for r in map(Requirement, queue.requires or []) if r.name == "tensordict" and r.marker is None
    )
    assert pin.version in theirs.specifier
    assert f"=={queue.version}" == str(INSTALLED_BESIDE["transferqueue"])


def test_flash_attention_is_verls_on_cuda_and_the_images_own_on_rocm() -> None:
    (pin,) = re.findall(r"flash-attn==(\S+)", FILES["cuda"])
    assert pin in FLASH_ATTENTION
    assert "flash-attn==" not in FILES["rocm"]


@CONTAINERS
def test_the_build_ends_with_checks_that_fail_it(text: str) -> None:
    last = text.split("RUN ")[-1]
    assert "import torch, flash_attn; assert torch.version." in last
    assert "rrm-reward doctor" in last
    assert "import verl.workers.rollout.vllm_rollout.vllm_async_server" in last
    assert last.count("&&") == 2
    assert ";" not in last.replace("flash_attn; assert", "")


@pytest.mark.parametrize(
    ("package", "versions"),
    [
        ("transformers", ("4.57.0", "5.5.2", "5.5.3", "5.6.0", "5.6.1", "5.9.0", "5.10.4", "5.11.0")),
        ("tensordict", ("0.8.0", "0.10.0", "0.10.1", "0.11.0")),
        ("vllm", ("0.11.0", "0.16.0", "0.23.0", "0.24.0", "0.24.0+rocm723", "0.25.0", "0.29.0")),
    ],
)
def test_doctor_knows_the_releases_that_verl_excludes_and_no_others(
    package: str, versions: tuple[str, ...]
) -> None:
    allowed = (WITH_VLLM if package == "vllm" else NEEDED)[package]
    found = {v for v in versions if check_versions({"verl": VERL.version, package: v})}
    assert found == {v for v in versions if v not in allowed}


def test_the_versions_of_the_containers_before_are_wrong_and_of_these_are_not() -> None:
    before = {"verl": "0.9.1", "vllm": "0.11.0", "transformers": "4.57.0"}
    assert [finding.name for finding in check_versions(before) if finding.fatal] == [
        "verl 0.9.1 with transformers 4.57.0",
        "verl 0.9.1 with vllm 0.11.0",
    ]
    now = {name: next(iter(spec)).version for name, spec in INSTALLED_BESIDE.items() if "==" in str(spec)}
    assert check_versions({**now, "verl": "0.9.1", "vllm": "0.24.0", "torch": "2.11.0"}) == []
