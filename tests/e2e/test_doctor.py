"""`cxrbench doctor` as a user runs it: here, in an environment with nothing installed, and with wrong arguments."""

import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.slow
def test_a_full_environment_is_ready_and_says_so(cli: Run, tmp_path: Path) -> None:
    """One line a check, aligned, no colour; ready, since the tests themselves run on what is needed."""
    done = cli("doctor", "--disk", tmp_path)
    lines = done.stdout.splitlines()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\x1b" not in done.stdout
    assert lines[-1].startswith("Ready for work on the CPU")
    assert {line[:4] for line in lines[:-2]} <= {"ok  ", "--  ", "!!  ", "    "}
    assert any(line.startswith("ok  disk speed") and "MiB written" in line for line in lines)
    assert list(tmp_path.iterdir()) == []


def test_nothing_installed_is_a_list_of_what_to_install(tmp_path: Path) -> None:
    """The doctor is called where things are missing, so it needs nothing but Python and its own files."""
    venv.create(tmp_path / "bare", with_pip=False)
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [tmp_path / "bare/bin/python", "-m", "cxrbench", "doctor", "--json", "--quick"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=clean | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr == ""
    answer = json.loads(done.stdout)
    states = {check["name"]: check["state"] for check in answer["checks"]}
    assert not answer["ok"]
    assert states["python"] == states["cores"] == "ok"
    assert states["packages"] == states["torch"] == states["dali"] == states["htj2k"] == "missing"
    advice = next(check["advice"] for check in answer["checks"] if check["name"] == "packages")
    assert advice.startswith("pip install numpy")
    assert answer["environment"]["packages"]["torch"] is None


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_wrong_folder_is_one_line(cli: Run, tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "it"
    if kind == "file":
        folder.write_text("")
    done = cli("doctor", "--disk", folder)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert str(folder) in done.stderr


def test_help_needs_only_the_package() -> None:
    done = subprocess.run(
        [sys.executable, "-S", "-c", "from cxrbench.cli import main; main(['doctor', '--help'])"],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert "--disk DIR" in done.stdout
