"""What goes wrong while phantoms are made: one line says what, and nothing that looks like a data set is left."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cxrbench.cli import main
from cxrbench.dataset.phantom import write
from tests.conftest import Run

PATIENCE_S = 60


def error_of(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str]:
    """Exit code and the one line on stderr."""
    code = main(["synth", *map(str, args)])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return code, captured.err


@contextmanager
def long_run(out: Path) -> Iterator[subprocess.Popen[str]]:
    """A run far from its end that has begun to write images."""
    command = [sys.executable, "-m", "cxrbench", "synth", "--out", str(out), "--images", "20000", "--size", "64"]
    with subprocess.Popen(
        [*command, "--workers", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            wait_for(lambda: any((out / ".partial" / "images").glob("*.png")))
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def wait_for(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """The spawned worker processes, without multiprocessing's own helper."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["--images", 50], 2, "got 50; allowed: at least 51"),
        (["--images", 99, "--defects"], 2, "got 99; allowed: at least 100"),
        (["--size", 63], 2, "--size: must be 64 to 2048 pixels; got '63'"),
        (["--size", 2049], 2, "--size: must be 64 to 2048 pixels; got '2049'"),
        (["--label-noise", 0.5], 2, "got 0.5; allowed: 0 <= noise < 0.5"),
        (["--workers", 0], 2, "--workers: must be a whole number of at least 1; got '0'"),
        (["--seed", -1], 2, "--seed: must be a whole number of at least 0; got '-1'"),
        (["--images", 900_000_000], 1, "not enough room at"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_is_written(
    args: list[object], code: int, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exit_code, line = error_of(capsys, "--out", tmp_path / "set", *args)
    assert exit_code == code
    assert says in line
    assert not (tmp_path / "set").exists()


def test_a_folder_with_content_is_refused_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    code, line = error_of(capsys, "--out", tmp_path, "--images", 60)
    assert code == 1
    assert f"{tmp_path} with 1 entries, such as notes.txt" in line
    assert "choose another --out" in line
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_the_rest_of_another_run_is_named_as_such(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".partial").mkdir()
    code, line = error_of(capsys, "--out", tmp_path, "--images", 60)
    assert code == 1
    assert "unfinished data set of another run" in line


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_in_the_place_of_the_folder_is_refused(
    below: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    code, line = error_of(capsys, "--out", tmp_path / "file" / below, "--images", 60)
    assert code == 1
    assert "choose another --out" in line
    assert (tmp_path / "file").read_text() == "mine"


def test_a_full_disk_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []

    def full_after_ten(task: write.Task, *_: object) -> write.Written:
        written.append(task.name)
        if len(written) > 10:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), task.name)
        return write.Written(task.name, {}, 0)

    monkeypatch.setattr(write, "write_image", full_after_ten)
    code, line = error_of(capsys, "--out", tmp_path / "set", "--images", 60, "--size", 64, "--workers", 1)
    assert code == 1
    assert "No space left on device" in line
    assert "free some space" in line
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize(("limit_bytes", "workers"), [(500, 2), (14_000, 1)], ids=["images", "tables"])
def test_a_limit_on_files_stops_images_or_tables_and_leaves_nothing(
    limit_bytes: int, workers: int, tmp_path: Path, cli: Run
) -> None:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    out = tmp_path / "set"
    out.mkdir()
    args = ("--images", 200, "--size", 64, "--workers", workers)
    done = cli("synth", "--out", out, *args, preexec_fn=limited, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"})
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "File too large; nothing was left there; raise the limit" in done.stderr
    assert list(out.iterdir()) == []


def test_ctrl_c_leaves_nothing(tmp_path: Path) -> None:
    with long_run(tmp_path / "set") as process:
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
        out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert (out, err) == ("", "cxrbench: interrupted\n")
    assert not (tmp_path / "set").exists()


def test_a_killed_worker_ends_the_run_and_leaves_nothing(tmp_path: Path) -> None:
    with long_run(tmp_path / "set") as process:
        os.kill(workers_of(process)[0], signal.SIGKILL)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "a worker process was killed" in err
    assert (out, err.count("\n")) == ("", 1)
    assert not (tmp_path / "set").exists()


def test_a_killed_run_leaves_no_workers_and_nothing_that_looks_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with long_run(tmp_path / "set") as process:
        workers = workers_of(process)
        assert workers
        process.kill()
        process.wait()
        wait_for(lambda: not any(map(is_running, workers)))
    assert [path.name for path in (tmp_path / "set").iterdir()] == [".partial"]
    assert {path.name for path in (tmp_path / "set" / ".partial").iterdir()} == {"images"}
    assert "remove the folder if it was interrupted" in error_of(capsys, "--out", tmp_path / "set")[1]
