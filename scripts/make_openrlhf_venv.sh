#!/usr/bin/env bash
# make_openrlhf_venv.sh PYTHON VENV PINS: OpenRLHF on a CPU, with vLLM's CPU build.
#
# PINS holds every package that installs as it is. Two of OpenRLHF's requirements do not build without CUDA, and of both
# only Python code is wanted on a CPU: they are unpacked from their source packages. OpenRLHF 0.10.1, the last one with
# flat flags, lies beside the environment's own, in VENV/openrlhf-0.10.1, for the tests of its contract.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python=$1 venv=$2 pins=$3
"$here/make_venv.sh" "$python" "$venv" "$pins"
rm "$venv/.ready" # not yet
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# a source package NAME==VERSION, unpacked into $scratch/NAME; its set-up looks for CUDA unless told not to
source_package() {
  echo "== $venv: $1==$2 from its source package"
  DS_ACCELERATOR=cpu DS_BUILD_OPS=0 FLASH_ATTENTION_SKIP_CUDA_BUILD=TRUE "$venv/bin/pip" download -q --no-deps \
    --no-build-isolation --no-binary :all: -d "$scratch" "$1==$2"
  mkdir -p "$scratch/$1" "$site/$1-$2.dist-info"
  tar -xzf "$scratch/$1-$2.tar.gz" -C "$scratch/$1" --strip-components 1
  printf 'Metadata-Version: 2.1\nName: %s\nVersion: %s\n' "$1" "$2" >"$site/$1-$2.dist-info/METADATA"
}

source_package deepspeed 0.19.6
rm -rf "$site/deepspeed"
cp -r "$scratch/deepspeed/deepspeed" "$site/"
# links in a checkout, folders in an installation
for folder in csrc op_builder; do
  rm -rf "$site/deepspeed/ops/$folder"
  cp -r "$scratch/deepspeed/$folder" "$site/deepspeed/ops/$folder"
done
rm -rf "$site/deepspeed/accelerator"
cp -r "$scratch/deepspeed/accelerator" "$site/deepspeed/accelerator"
cat >"$site/deepspeed/git_version_info_installed.py" <<'END'
version = "0.19.6"
git_hash = git_branch = "none"
installed_ops = {}
accelerator_name = "cpu"
torch_info = {
    "version": "2.13", "bf16_support": True, "cuda_version": "0.0", "nccl_version": "0.0", "hip_version": "0.0"
}
END

source_package flash_attn 2.8.3
rm -rf "$site/flash_attn"
mkdir "$site/flash_attn"
cp -r "$scratch/flash_attn/flash_attn/bert_padding.py" "$scratch/flash_attn/flash_attn/utils" "$site/flash_attn/"
touch "$site/flash_attn/__init__.py" "$site/flash_attn/utils/__init__.py"

echo "== $venv: OpenRLHF 0.10.1 beside it"
rm -rf "$venv/openrlhf-0.10.1"
"$venv/bin/pip" install -q --no-deps --no-compile --target "$venv/openrlhf-0.10.1" openrlhf==0.10.1
touch "$venv/.ready"
