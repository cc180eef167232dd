"""Disks that are full, small, gone or read-only under a conversion: one line says so, and it can go on afterwards."""

import errno
import os
import resource
import subprocess
from pathlib import Path

import pytest

from cxrbench.dataset import task
from tests.conftest import Run
from tests.conversions import Source, arguments, make_source, refusal, succeed, tree


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return make_source(tmp_path_factory.mktemp("few"), 40)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_limit_on_file_sizes_is_one_line_and_the_run_can_go_on(
    workers: int, few: Source, tmp_path: Path, cli: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last shard of each part is small enough; the others are not."""

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    out, undisturbed = tmp_path / "set", tmp_path / "undisturbed"
    options = ("--size", 128, "--images-per-shard", 9, "--workers", workers)
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    done = cli(*arguments(few, out, *options), preexec_fn=limited, env=environment)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "File too large; finished shards are kept: mend that and run the same command again" in done.stderr
    assert not list(out.rglob("*.tmp"))
    assert not (out / "dataset.json").exists()
    for folder in (out, undisturbed):
        succeed(capsys, [*arguments(few, folder, *options)[:-1], "1"])
    assert tree(out) == tree(undisturbed)


def test_a_full_disk_is_one_line_and_what_is_finished_is_kept(
    few: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The third shard finds no space; once there is some, the first two are not converted again."""
    out = tmp_path / "set"
    args = arguments(few, out, "--images-per-shard", 9, "--workers", 1)
    begun: list[str] = []
    write_tar = task.write_tar

    def full_at_the_third(file, samples):
        begun.append(file.name)
        written = write_tar(file, samples)
        if len(begun) == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return written

    monkeypatch.setattr(task, "write_tar", full_at_the_third)
    line = refusal(capsys, args)
    assert f"got {out}: No space left on device; finished shards are kept" in line
    assert sorted(path.name for path in out.iterdir()) == [
        ".work", "000000.idx", "000000.tar", "000001.idx", "000001.tar"
    ]  # fmt: skip
    succeed(capsys, args)
    assert len(begun) == 3 + 3  # of five shards in all


@pytest.mark.parametrize("layout", ["folder", "tar.gz"])
def test_a_small_disk_that_is_full_and_then_is_not(
    layout: str, few: Source, tmp_path: Path, cli: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "none", disk]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk is not permitted here")
    try:
        args = [*arguments(few, disk / "set", "--images-per-shard", 9, layout=layout), "--workers", "2"]
        done = cli(*args)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert "No space left on device" in done.stderr
        assert not list(disk.rglob("*.tmp"))
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        succeed(capsys, [*args[:-1], "1"])
        succeed(capsys, ["verify", str(disk / "set"), "--workers", "1"])
    finally:
        subprocess.run(["umount", disk], check=True)


def test_an_image_that_vanishes_midway_is_named_and_the_run_can_go_on(
    few: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a network disk drops out: no fault of the image, so nothing that quarantine may leave out."""
    source = make_source(tmp_path / "source", 40)
    out, undisturbed = tmp_path / "set", tmp_path / "undisturbed"
    args = arguments(source, out, "--images-per-shard", 9, "--workers", 1, "--on-bad", "quarantine")
    victim = sorted(source.folder.iterdir())[-1]
    content = victim.read_bytes()
    write_tar = task.write_tar

    def write_and_remove(file, samples):
        victim.unlink(missing_ok=True)
        return write_tar(file, samples)

    with monkeypatch.context() as patch:
        patch.setattr(task, "write_tar", write_and_remove)
        line = refusal(capsys, args)
    assert f"cannot read the image; got {victim}: No such file or directory" in line
    assert not (out / "dataset.json").exists()
    victim.write_bytes(content)
    succeed(capsys, args)
    succeed(capsys, arguments(few, undisturbed, "--images-per-shard", 9, "--workers", 1))
    assert tree(out) == tree(undisturbed)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_image_that_cannot_be_read_is_named(workers: int, tmp_path: Path, cli: Run) -> None:
    source = make_source(tmp_path / "source", 40)
    victim = sorted(source.folder.iterdir())[7]
    victim.unlink()
    victim.symlink_to("/proc/self/mem")  # a file that even root gets an error from
    done = cli(*arguments(source, tmp_path / "set", "--images-per-shard", 9, "--workers", workers))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert f"cannot read the image; got {victim}: Input/output error" in done.stderr


def test_an_archive_that_vanishes_or_is_cut_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And read again once it is replaced, though a part of it was converted."""
    source = make_source(tmp_path / "source", 40)
    out = tmp_path / "set"
    args = arguments(source, out, "--images-per-shard", 9, "--workers", 1, layout="tar.gz")
    content = source.archives[1].read_bytes()
    source.archives[1].write_bytes(content[: len(content) // 2])
    assert f"corrupt archive; got {source.archives[1]}" in refusal(capsys, args)
    source.archives[1].unlink()
    assert f"no such file or folder; got {source.archives[1]}" in refusal(capsys, args)
    source.archives[1].write_bytes(content)
    succeed(capsys, args)
    succeed(capsys, arguments(source, tmp_path / "other", "--images-per-shard", 9, "--workers", 1))
    assert tree(out) == tree(tmp_path / "other")


@pytest.mark.parametrize("out", ["/proc/set", "file", "file/below"])
def test_a_place_that_cannot_be_written_is_named(
    out: str, few: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    line = refusal(capsys, arguments(few, tmp_path / out, "--workers", 1))
    assert f"got {tmp_path / out}" in line
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_with_other_files_is_refused_and_kept(
    few: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / ".notes.tmp").write_text("mine")
    line = refusal(capsys, arguments(few, tmp_path / "set", "--workers", 1))
    assert "the folder is not empty" in line
    assert ".notes.tmp; choose another --out" in line
    assert tree(tmp_path / "set") == {".notes.tmp": b"mine"}
