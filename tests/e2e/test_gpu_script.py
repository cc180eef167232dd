"""`scripts/gpu` on a machine without a GPU: every step goes the same way on the CPU, and says that it was a dry run."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "gpu"


def gpu(*args: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=cwd)


def test_the_list_names_the_steps_in_order() -> None:
    done = gpu("--list")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()][:4] == ["coexist", "tests", "sets", "decode"]


def test_the_list_has_what_the_steps_asked_for_need() -> None:
    done = gpu("--list", "--only", "parity", "nccl")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["sets", "parity", "nccl"]


@pytest.mark.parametrize("args", [(), ("--out", "x", "--minutes", 0), ("--out", "x", "--only", "nothing")])
def test_wrong_usage_writes_nothing(tmp_path: Path, args: tuple[object, ...]) -> None:
    assert gpu(*args, cwd=tmp_path).returncode == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_dry_run_on_the_cpu_goes_through_every_measurement(tmp_path: Path) -> None:
    done = gpu(
        "--out",
        tmp_path / "out",
        "--minutes",
        4,
        "--device",
        "cpu",
        "--only",
        "coexist",
        "decode",
        "nccl",
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    steps = json.loads((tmp_path / "out" / "summary.json").read_text())["steps"]
    assert {name: step["status"] for name, step in steps.items()} == dict.fromkeys(("coexist", "decode", "nccl"), "ok")
    assert all(step["result"]["note"] == "dry run: cpu" for step in steps.values())
    gray = steps["decode"]["result"]["cases"]
    assert set(gray) == {"png cpu", "jpeg cpu", "jpeg2000 cpu", "htj2k cpu"}
    assert all(case[size]["images_per_s"] > 0 for case in gray.values() for size in ("256", "1024"))
    assert all(case["256"]["worst_difference"] == 0 for name, case in gray.items() if not name.startswith("jpeg "))
    assert len(list((tmp_path / "out").iterdir())) == 4


@pytest.mark.slow
def test_steps_that_share_images_agree_on_where_they_lie(tmp_path: Path) -> None:
    names = ("loaders", "speedup", "recipe", "parity")
    done = gpu("--out", tmp_path / "out", "--minutes", 10, "--device", "cpu", "--only", *names)
    assert done.returncode == 0, done.stdout + done.stderr
    steps = json.loads((tmp_path / "out" / "summary.json").read_text())["steps"]
    assert list(steps) == ["sets", *names]
    rows = steps["loaders"]["result"]["rows"]
    assert {(row["case"]["loader"], row["case"]["view"]) for row in rows} == {
        (loader, view) for loader in ("resident", "dali") for view in ("train", "center", "tencrop")
    }
    (arch,) = steps["speedup"]["result"]["archs"].values()
    assert set(arch) == {"train", "tencrop"}
    for view in arch.values():
        assert view["dali"]["images"] == view["usual"]["images"] == 64
        assert view["dali"]["times"] > view["dali"]["times_with_conversion"] > 0
    (arch,) = steps["recipe"]["result"]["archs"].values()
    assert all(mode["times"] > 0 and len(mode["images_per_s"]) == 4 for mode in arch.values())
    assert {case["images"] for case in steps["parity"]["result"]["difference"].values()} == {57}, (
        "90% of 64, by patient"
    )
