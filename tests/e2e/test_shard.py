"""From images to a finished data set: the same bytes by every way, and nothing wrong let through unsaid."""

import json
import random
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from cxrbench.dataset import locate, manifest
from tests.conftest import Run
from tests.conversions import LAYOUTS, Source, arguments, command, refusal, succeed, tree
from tests.e2e.conftest import NUM_IMAGES, NUM_SHARDS, OPTIONS, shard


@pytest.mark.parametrize("workers", [2, 3])
def test_the_number_of_workers_changes_no_byte(
    workers: int, source: Source, plain: dict[str, bytes], tmp_path: Path, cli: Run
) -> None:
    done = cli(*arguments(source, tmp_path / "set", *OPTIONS, "--workers", workers))
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "set") == plain


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_layout_of_the_source_changes_no_byte(
    layout: str, source: Source, plain: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    succeed(capsys, shard(source, tmp_path / "set", layout=layout))
    assert tree(tmp_path / "set") == plain


@pytest.mark.parametrize("encoding", ["png", "jpeg", "htj2k", "jp2"])
def test_layouts_agree_in_every_encoding_at_the_sources_size(
    encoding: str, source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for layout in ("folder", "tar.gz"):
        more = ("--size", "source", "--encoding", encoding)
        succeed(capsys, shard(source, tmp_path / layout, *more, layout=layout))
    assert tree(tmp_path / "folder") == tree(tmp_path / "tar.gz")
    assert "right" in succeed(capsys, ["verify", str(tmp_path / "folder"), "--workers", "1"])


def test_the_order_of_rows_and_of_paths_changes_no_image(
    source: Source, plain: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows in another order are another CSV, and only its checksum tells."""
    header, *rows = source.labels.read_text().splitlines()
    shuffled = Source(source.folder, tmp_path / "shuffled.csv", source.zip, source.archives[::-1])
    shuffled.labels.write_text("\n".join([header, *random.Random(0).sample(rows, len(rows))]) + "\n")
    succeed(capsys, shard(shuffled, tmp_path / "set", layout="tar.gz"))
    result = tree(tmp_path / "set")
    ours, theirs = (json.loads(each.pop("dataset.json")) for each in (result, dict(plain)))
    assert result == {name: data for name, data in plain.items() if name != "dataset.json"}
    assert {key for key in theirs if ours[key] != theirs[key]} == {"labels_sha256", "sha256"}


def test_packs_of_an_archive_change_no_byte(
    source: Source, plain: dict[str, bytes], tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(locate, "IMAGES_PER_PACK", 5)
    succeed(capsys, shard(source, tmp_path / "set", layout="tar.gz"))
    assert tree(tmp_path / "set") == plain


def test_a_finished_set_says_so_and_is_left_alone(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Even where a run was killed after the manifest and before its notes were gone."""
    out = tmp_path / "set"
    succeed(capsys, shard(source, out))
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    (out / ".work").mkdir()
    assert f"{out} is finished already: {NUM_IMAGES} images" in succeed(capsys, shard(source, out))
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


DIFFERENT = {
    "size": (("--size", 32), "size_px 48 there and 32 now"),
    "encoding": (("--encoding", "png"), "encoding npy there and png now"),
    "seed": (("--seed", 3), "seed 0 there and 3 now"),
    "images-per-shard": (("--images-per-shard", 8), "images_per_shard 7 there and 8 now"),
    "csv": ((), "labels_sha256 "),
    "version": ((), "version of pillow 0.1 there and "),
}


@pytest.mark.parametrize("state", ["begun", "finished"])
@pytest.mark.parametrize("kind", DIFFERENT)
def test_other_options_are_refused_by_name_and_nothing_changes(
    kind: str, state: str, source: Source, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    out = tmp_path / "set"
    more, says = DIFFERENT[kind]
    with monkeypatch.context() as patch:
        if kind == "version":
            ours = manifest.version
            patch.setattr(manifest, "version", lambda name: "0.1" if name == "pillow" else ours(name))
        succeed(capsys, shard(source, out, *(("--part", "1/2") if state == "begun" else ())))
    if kind == "csv":
        text = source.labels.read_text().replace("Hernia", "Nodule", 1)
        source = Source(source.folder, tmp_path / "other.csv", source.zip, source.archives)
        source.labels.write_text(text)
    before = tree(out)
    line = refusal(capsys, shard(source, out, *more))
    assert f"{out} was begun with other options; got {says}" in line
    assert "give another --out, or remove the folder" in line
    assert tree(out) == before


@pytest.mark.parametrize("layout", ["folder", "tar.gz"])
@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_parts_in_any_order_make_the_same_bytes(
    order: Sequence[int], layout: str, source: Source, plain: dict[str, bytes], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "set"
    for number in order:
        before = succeed(capsys, shard(source, out, "--part", f"{number}/3", layout=layout))
        assert before.startswith(f"part {number}/3 done: ")
        assert not (out / "dataset.json").exists()
    written = {path: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    succeed(capsys, shard(source, out, "--part", "2/3", layout=layout))  # once more
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.tar")} == written
    summary = json.loads(succeed(capsys, shard(source, out, "--finalise", "--json", layout=layout)))
    assert (summary["images"], summary["shards"]) == (NUM_IMAGES, NUM_SHARDS)
    assert tree(out) == plain


@pytest.mark.parametrize("layout", ["folder", "tar.gz"])
def test_parts_at_once_make_the_same_bytes(
    layout: str, source: Source, plain: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They share the archives too: each begins with another, and waits for one that the other is at."""
    out = tmp_path / "set"
    parts = [
        subprocess.Popen(
            command(shard(source, out, "--part", f"{number}/2", layout=layout)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for number in (1, 2)
    ]
    for part in parts:
        output, _ = part.communicate(timeout=60)
        assert part.returncode == 0, output
    succeed(capsys, shard(source, out, "--finalise", layout=layout))
    assert tree(out) == plain


@pytest.mark.parametrize("layout", ["folder", "tar.gz"])
def test_finalise_refuses_while_parts_are_missing_and_a_plain_run_completes_them(
    layout: str, source: Source, plain: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "set"
    first = refusal(capsys, shard(source, out, "--finalise", layout=layout))
    assert "not all parts are done" in first
    succeed(capsys, shard(source, out, "--part", "1/2", layout=layout))
    line = refusal(capsys, shard(source, out, "--finalise", layout=layout))
    assert f"not all parts are done; got 3 of {NUM_SHARDS} shards are missing; run the missing --part i/n" in line
    assert not (out / "dataset.json").exists()
    succeed(capsys, shard(source, out, layout=layout))
    assert tree(out) == plain


def test_what_killed_parts_leave_is_gone_in_the_end(
    source: Source, plain: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "set"
    succeed(capsys, shard(source, out, "--part", "1/1", layout="tar.gz"))
    [scratch, *_] = (path for path in (out / ".work").iterdir() if path.is_dir())
    for folder in (out, out / ".work", scratch):
        (folder / ".000001.tar.4711.tmp").write_bytes(b"x")
    succeed(capsys, shard(source, out, "--finalise", layout="tar.gz"))
    assert tree(out) == plain


def test_a_shard_damaged_since_its_part_is_missing_to_finalise(
    source: Source, plain: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "set"
    succeed(capsys, shard(source, out, "--part", "1/1"))
    (out / "000002.tar").write_bytes(b"x")
    (out / "000003.idx").unlink()
    line = refusal(capsys, shard(source, out, "--finalise"))
    assert f"got 2 of {NUM_SHARDS} shards are missing" in line
    succeed(capsys, shard(source, out, "--part", "1/1"))
    succeed(capsys, shard(source, out, "--finalise"))
    assert tree(out) == plain


def test_images_that_come_in_between_move_no_id_to_another_image(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --partial, runs may find more images or fewer than those before: shards of the old plan are not taken for
    those of the new one.
    """
    growing, out = tmp_path / "growing", tmp_path / "set"
    shutil.copytree(source.folder, growing)
    late = [*sorted(growing.iterdir())[1:3], *sorted(growing.iterdir())[-20:]]
    content = {path: path.read_bytes() for path in late}
    ours = Source(growing, source.labels, source.zip, source.archives)
    for path in late[:2]:
        path.unlink()
    succeed(capsys, shard(ours, out, "--partial", "--part", "1/1"))
    late[0].write_bytes(content[late[0]])
    for path in late[2:]:
        path.unlink()
    succeed(capsys, shard(ours, out, "--partial", "--part", "1/2"))
    succeed(capsys, shard(ours, out, "--partial"))
    succeed(capsys, shard(ours, tmp_path / "fresh", "--partial"))
    assert tree(out) == tree(tmp_path / "fresh")
    assert "right" in succeed(capsys, ["verify", str(out), "--workers", "1"])
