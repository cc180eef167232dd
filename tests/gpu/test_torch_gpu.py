"""Torch, DALI and NCCL on one GPU, and the doctor that vouches for them."""

import json
import subprocess
from collections.abc import Callable

import pytest

from benchmarks.gpu import coexist, nccl

pytestmark = pytest.mark.gpu
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize("measure", [coexist.measure, nccl.measure], ids=["coexist", "nccl"])
def test_the_step_finds_nothing_wrong(measure: Callable[[str], dict[str, object]]) -> None:
    result = measure("cuda")
    assert result["ok"], result


def test_the_doctor_finds_every_gpu_check_in_order(cli: Run) -> None:
    done = cli("doctor", "--json", "--quick")
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    for name in ("gpu", "torch gpu", "dali gpu", "decode gpu", "nccl"):
        assert checks[name]["state"] == "ok", checks[name]
