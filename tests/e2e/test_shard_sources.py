"""What a data set is made from may change between runs, or be odd: nothing stale and nothing strange gets in."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cxrbench.cli import main
from cxrbench.dataset.tar import read_members
from tests.conftest import row, write_csv, write_png
from tests.conversions import Source, arguments, make_source, succeed, tree


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return make_source(tmp_path, 40, size_px=32, num_archives=1)


def options(size: object = 16) -> tuple[object, ...]:
    return ("--size", size, "--images-per-shard", 8, "--workers", 1)


def test_images_replaced_between_runs_are_converted_again(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Half of the shards were made of the first files; a run with others must not keep them."""
    out, expected = tmp_path / "out", tmp_path / "expected"
    succeed(capsys, arguments(source, out, *options(), "--part", "1/2"))
    for number, path in enumerate(sorted(source.folder.iterdir())):
        path.unlink()
        write_png(path, seed=1000 + number, size_px=32)
    succeed(capsys, arguments(source, out, *options()))
    succeed(capsys, arguments(source, expected, *options()))
    assert tree(out) == tree(expected)


def test_a_damaged_scratch_store_is_refused(source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "out"
    succeed(capsys, arguments(source, out, *options(), "--part", "1/2", layout="tar.gz"))
    (pack,) = (out / ".work").glob("*/*.pack")
    data = bytearray(pack.read_bytes())
    data[:: len(data) // 50] = bytes(len(data[:: len(data) // 50]))
    pack.write_bytes(bytes(data))
    assert main(arguments(source, out, *options(), layout="tar.gz")) == 1
    error = capsys.readouterr().err
    assert "cannot read what was converted before" in error
    assert not (out / "dataset.json").exists()


def test_a_whole_run_does_not_pass_off_a_part_as_finished(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out"
    held = [path.rename(tmp_path / path.name) for path in sorted(source.folder.iterdir())[:10]]
    succeed(capsys, arguments(source, out, *options(), "--partial"))
    for path in held:
        path.rename(source.folder / path.name)
    assert main(arguments(source, out, *options())) == 1
    assert "is finished, but --partial; got 10 rows or images" in capsys.readouterr().err
    assert "is finished already" in succeed(capsys, arguments(source, out, *options(), "--partial"))


def test_a_shard_of_bad_images_alone_is_left_out(source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out, bad = tmp_path / "out", sorted(source.folder.iterdir())[3]
    bad.unlink()
    bad.write_bytes(b"")
    succeed(capsys, arguments(source, out, "--size", 16, "--images-per-shard", 1, "--on-bad", "quarantine"))
    manifest = json.loads((out / "dataset.json").read_text())
    assert (manifest["images"], len(manifest["shards"]), manifest["quarantined"]) == (39, 39, 1)
    assert all(entry["samples"] == 1 for entry in manifest["shards"])
    assert len(list(out.glob("*.tar"))) == len(list(out.glob("*.idx"))) == 39
    succeed(capsys, ["verify", str(out)])


def test_missing_values_are_typed_in_the_tars_and_null_in_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    name = "00000001_000.png"
    write_png(tmp_path / "images" / name, size_px=32)
    labels = write_csv(tmp_path / "labels.csv", [f"{name},No Finding,0,1,,,,1,1,1,1"])
    out = tmp_path / "out"
    succeed(capsys, arguments(Source(tmp_path / "images", labels, labels, []), out, *options()))
    (about,) = (json.loads(data) for member, data in read_members(out / "000000.tar") if member.extension == "json")
    assert (about["age"], about["sex"], about["view"], about["labels"]) == (-1, "", "", ["No Finding"])
    table = pq.read_table(out / "samples.parquet").to_pylist()[0]
    assert (table["age"], table["sex"], table["view"]) == (None, None, None)


def test_an_image_that_some_readers_would_turn_is_not_kept_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    name, buffer = "00000001_000.png", io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees
    pixels = np.arange(32 * 24, dtype=np.uint8).reshape(24, 32)
    Image.fromarray(pixels).save(buffer, "PNG", exif=exif)
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / name).write_bytes(buffer.getvalue())
    labels = write_csv(tmp_path / "labels.csv", [row(name)])
    out = tmp_path / "out"
    args = arguments(Source(tmp_path / "images", labels, labels, []), out, *options("source"), "--encoding", "png")
    succeed(capsys, args)
    (stored,) = (data for member, data in read_members(out / "000000.tar") if member.extension == "png")
    assert b"eXIf" not in stored
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(stored))), pixels)
    assert pq.read_table(out / "samples.parquet")["kept"].to_pylist() == [False]


def test_the_summary_counts_what_this_run_converted(source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    out = tmp_path / "out"
    succeed(capsys, arguments(source, out, *options(), "--part", "1/2"))
    summary = json.loads(succeed(capsys, arguments(source, out, *options(), "--json")))
    done = json.loads((out / "dataset.json").read_text())["shards"][0::2]
    assert summary["converted_now"] == 40 - sum(entry["samples"] for entry in done)
    assert summary["read_bytes"] == sum(path.stat().st_size for path in source.folder.iterdir())
    packed = json.loads(succeed(capsys, arguments(source, tmp_path / "packed", *options(), "--json", layout="tar.gz")))
    assert packed["stage_seconds"]["decode"] > 0
    assert packed["read_bytes"] == summary["read_bytes"]


def test_a_changed_time_alone_costs_work_and_no_correctness(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out, expected = tmp_path / "out", tmp_path / "expected"
    succeed(capsys, arguments(source, expected, *options()))
    succeed(capsys, arguments(source, out, *options(), "--part", "1/2"))
    for path in source.folder.iterdir():
        os.utime(path, (1, 1))
    succeed(capsys, arguments(source, out, *options()))
    assert tree(out) == tree(expected)
