"""The benchmark cases run, and what they time is right; how fast they are is not a test's business."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPTIONS = ("-n", "0", "-p", "no:cacheprovider", "--benchmark-disable")


def cases(*options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "benchmarks", *OPTIONS, *map(str, options)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_all_cases_run():
    done = cases("-vv")
    assert done.returncode == 0, done.stdout + done.stderr
    for case in ("decode[htj2k]", "view[tencrop]", "epoch[webdataset-png]", "train_step", "bootstrap", "read_a_shard"):
        assert f"test_{case} PASSED" in done.stdout
