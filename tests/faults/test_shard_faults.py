"""A conversion that is killed, starved or disturbed at any instant: one line says why, and the same command goes on to
the same bytes.
"""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.conversions import LAYOUTS, Source, arguments, command, make_source, refusal, succeed, tree

PATIENCE_S = 60
OPTIONS = ("--size", 128, "--images-per-shard", 16)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Enough for several packs of the archive and for a run of about a second."""
    return make_source(tmp_path_factory.mktemp("many"), 1100, num_archives=1)


@pytest.fixture(scope="module")
def whole(source: Source, tmp_path_factory: pytest.TempPathFactory, cli: Run) -> dict[str, bytes]:
    """What an undisturbed run leaves."""
    out = tmp_path_factory.mktemp("whole") / "set"
    done = cli(*arguments(source, out, *OPTIONS, "--workers", 2))
    assert done.returncode == 0, done.stderr
    return tree(out)


def wait_for(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def is_alive(group: int) -> bool:
    """Has the process group a member that is not a zombie?"""
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, pgrp = status.read_text().rsplit(")", 1)[1].split()[:3]
            if int(pgrp) == group and state != "Z":
                return True
    return False


@contextmanager
def running(args: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A run in a process group of its own, of which nothing is left afterwards."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command(args), stdout=pipe, stderr=pipe, text=True, start_new_session=True) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def converting(args: list[str], out: Path) -> Iterator[subprocess.Popen[str]]:
    """A run that has begun to write shards."""
    with running(args) as process:
        wait_for(lambda: any(out.glob("*.tar")) or process.poll() is not None)
        yield process


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """The spawned worker processes, without multiprocessing's own helper."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def kill_and_resume(source: Source, base: Path, layout: str, num_kills: int, seed: int) -> Iterator[Path]:
    """Runs killed at random instants, group and parent in turn, each going on where the last was killed at once; yields
    each folder that got done in spite of it.
    """
    instants, out, kills, parts = random.Random(seed), base / "0", 0, 0
    while kills < num_kills or parts:
        args = arguments(source, out, *OPTIONS, "--workers", instants.choice([1, 2]), layout=layout)
        with running(args) as process:
            wait_for(lambda out=out, process=process: (out / ".work/options.json").exists() or process.poll() == 0)
            if kills < num_kills:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(instants.uniform(0, 0.9))
            else:
                process.wait(PATIENCE_S)
            if process.poll() is None:
                (process.kill if kills % 2 else lambda process=process: os.killpg(process.pid, signal.SIGKILL))()
                kills, parts = kills + 1, parts + 1
                if kills % 2 == 0:
                    wait_for(lambda process=process: not is_alive(process.pid))
            process.communicate(timeout=PATIENCE_S)
        if process.returncode != -signal.SIGKILL:
            assert process.returncode == 0
            yield out
            out, parts = base / str(kills), 0


@pytest.mark.parametrize(
    ("layout", "num_kills"),
    [("folder", 3), *(pytest.param(layout, 20, marks=pytest.mark.slow) for layout in LAYOUTS)],
)
def test_killed_at_any_instant_it_goes_on_to_the_same_bytes(
    layout: str, num_kills: int, source: Source, whole: dict[str, bytes], tmp_path: Path
) -> None:
    done = [tree(out) for out in kill_and_resume(source, tmp_path, layout, num_kills, seed=num_kills)]
    assert done
    for result in done:
        assert result.keys() == whole.keys()  # nothing temporary either
        assert result == whole


def test_workers_end_with_their_parent(source: Source, tmp_path: Path) -> None:
    out = tmp_path / "set"
    with converting(arguments(source, out, *OPTIONS, "--workers", 2), out) as process:
        assert len(workers_of(process)) == 2
        process.kill()
        process.wait()
        wait_for(lambda: not is_alive(process.pid))


@pytest.mark.parametrize(
    ("layout", "workers", "kill"), [("folder", 2, os.killpg), ("tar.gz", 2, os.killpg), ("zip", 1, os.kill)]
)
def test_ctrl_c_is_one_line_and_leaves_no_process_and_no_rest(
    layout: str, workers: int, kill: Callable[[int, int], None], source: Source, whole: dict[str, bytes],
    tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "set"
    args = arguments(source, out, *OPTIONS, "--workers", workers, layout=layout)
    with running(args) as process:
        wait_for(lambda: (out / ".work/options.json").exists())
        time.sleep(0.2)
        kill(process.pid, signal.SIGINT)
        output = process.communicate(timeout=PATIENCE_S)
        wait_for(lambda: not is_alive(process.pid))
    assert (process.returncode, *output) == (130, "", "cxrbench: interrupted\n")
    assert not list(out.rglob("*.tmp"))
    assert not (out / "dataset.json").exists()
    succeed(capsys, [*args[:-1], "1"])
    assert tree(out) == whole


def test_a_killed_worker_is_one_line_and_the_run_can_go_on(
    source: Source, whole: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "set"
    args = arguments(source, out, *OPTIONS, "--workers", 2)
    with converting(args, out) as process:
        os.kill(workers_of(process)[0], signal.SIGKILL)
        output = process.communicate(timeout=PATIENCE_S)
        wait_for(lambda: not is_alive(process.pid))
    killed = "cxrbench: error: a worker process was killed; is there enough memory? try fewer --workers\n"
    assert (process.returncode, *output) == (1, "", killed)
    assert not list(out.rglob("*.tmp"))
    succeed(capsys, [*args[:-1], "1"])
    assert tree(out) == whole


@pytest.mark.parametrize("second", [(), ("--part", "1/2"), ("--finalise",)], ids=["plain", "part", "finalise"])
def test_of_two_conversions_into_one_folder_the_second_is_refused_at_once(
    second: tuple[str, ...], source: Source, whole: dict[str, bytes], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "set"
    args = arguments(source, out, *OPTIONS, "--workers", 2)
    with converting(args, out) as process:
        os.killpg(process.pid, signal.SIGSTOP)  # so that it cannot finish before
        line = refusal(capsys, [*args, *second])
        os.killpg(process.pid, signal.SIGCONT)
        output = process.communicate(timeout=PATIENCE_S)
    assert f"another conversion is at work here; got {out}; wait for it, or stop it" in line
    assert process.returncode == 0, output
    assert tree(out) == whole
