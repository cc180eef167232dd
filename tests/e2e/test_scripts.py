"""The two commands of the README. They run in the project's own environment; from another one they would install it."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VENV = ROOT / os.environ.get("VENV", ".venv")

pytestmark = pytest.mark.skipif(Path(sys.prefix).resolve() != VENV.resolve(), reason="not run by scripts/test")


def script(name: str, *args: object, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts" / name, *map(str, args)],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd="/",
    )


def test_a_second_setup_costs_seconds():
    start = time.perf_counter()
    done = script("setup")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert time.perf_counter() - start < 5


def test_setup_without_a_fit_python_says_what_to_do(tmp_path: Path):
    done = script("setup", VENV=str(tmp_path / "new"), PYTHON="python2")
    assert done.returncode == 1
    assert done.stderr.startswith("scripts/setup: error: no Python 3.11 to 3.14 found")
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_the_demo_goes_from_nothing_to_a_page_with_all_of_it(tmp_path: Path):
    done = script("demo", DEMO=str(tmp_path / "demo"), DEMO_IMAGES="120", VENV=str(VENV))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no patient is in two parts" in done.stdout
    assert "every byte is right" in done.stdout
    assert json.loads((tmp_path / "demo" / "shards" / "dataset.json").read_text())["images"] == 120
    regimes = json.loads((tmp_path / "demo" / "run" / "metrics.json").read_text())["runs"]
    assert list(regimes) == ["baseline", "head", "full"]
    assert "the best mean AUROC that these labels" in done.stdout
    page = tmp_path / "demo" / "report.html"
    assert f"{page}: " in done.stdout
    assert "0 problems" in done.stdout
    assert f"Done: open {page} in a browser" in done.stdout
    assert "Content-Security-Policy" in page.read_text()
    again = script("demo", DEMO=str(tmp_path / "demo"), VENV=str(VENV))
    assert again.returncode == 1
    assert "is there already" in again.stderr


def bench(*args: object, **env: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(VENV.resolve() / "bin"), os.environ["PATH"]])
    return script("bench", *args, PATH=path, **env)


def test_bench_lists_its_steps_and_refuses_others(tmp_path: Path):
    listed = bench("--list")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert {"loaders", "stall", "scoring"} <= {line.split()[0] for line in listed.stdout.splitlines()}
    assert bench("--only", "nothing", "--out", tmp_path / "out").returncode == 2
    assert not (tmp_path / "out").exists()


def test_bench_names_what_it_leaves_out(tmp_path: Path):
    done = bench("--only", "phantoms", "--out", tmp_path, CXRBENCH_NIH_SAMPLE="")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "left out: phantoms: real images: CXRBENCH_NIH_SAMPLE names no folder" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_bench_quick_prints_tables_and_keeps_nothing(tmp_path: Path):
    done = bench("--quick", "--only", "train", "--out", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    machine = re.search(r"kept .*/train-(\S+)\.json", done.stdout)[1]
    assert f"\n## train-{machine}\n" in done.stdout
    assert "| train |" in done.stdout
    assert list(tmp_path.iterdir()) == []
