"""What a data set is made from may change between runs, or be odd: nothing stale and nothing strange gets in."""

import errno
import io
import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cxrbench.cli import main
from cxrbench.dataset import locate
from cxrbench.dataset.convert import Converted
from cxrbench.dataset.tar import read_members
from tests.conftest import row, write_csv, write_png
from tests.conversions import LAYOUTS, Source, arguments, make_source, refusal, succeed, tree


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


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("wrong", ["rows of other images", "rows of some images", "rows of more images"])
def test_a_table_that_does_not_fit_binds_nothing(
    wrong: str, layout: str, source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """The right one goes on in the same folder, though archives were converted for the images that the other named."""
    out, expected = tmp_path / "out", tmp_path / "expected"
    header, *rows = source.labels.read_text().splitlines()
    others = {
        "rows of other images": [row("00099999_000.png")],
        "rows of some images": rows[:11],
        "rows of more images": [*rows, row("00099999_000.png")],
    }
    labels = write_csv(tmp_path / "wrong.csv", others[wrong], header)
    mistaken = Source(source.folder, labels, source.zip, source.archives)
    line = refusal(capsys, arguments(mistaken, out, *options(), layout=layout))
    assert "rows have no image" in line or "images have no row" in line
    succeed(capsys, arguments(source, out, *options(), layout=layout))
    succeed(capsys, arguments(source, expected, *options(), layout=layout))
    assert tree(out) == tree(expected)


def test_what_was_converted_of_an_archive_is_kept_for_the_same_options_alone(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """Of a run that ended while it did: pixels of one size must not go into a data set of another."""
    out, expected = tmp_path / "out", tmp_path / "expected"
    write_pack = locate.write_pack

    def full_at_the_second(images: Iterable[Converted], index: Path) -> int:
        if index.stem == "000001":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write_pack(images, index)

    monkeypatch.setattr(locate, "IMAGES_PER_PACK", 30)
    with monkeypatch.context() as patch:
        patch.setattr(locate, "write_pack", full_at_the_second)
        assert "No space left" in refusal(capsys, arguments(source, out, *options(), layout="tar.gz"))
    line = refusal(capsys, arguments(source, out, *options(24), layout="tar.gz"))
    assert "was begun with other options; got size_px 16 there and 24 now" in line
    succeed(capsys, arguments(source, out, *options(), layout="tar.gz"))
    succeed(capsys, arguments(source, expected, *options()))
    assert tree(out) == tree(expected)


def test_an_archive_is_converted_once_for_a_table_that_fits_in_part(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """The complaint says --partial, and it takes what was converted before the complaint."""
    out = tmp_path / "out"
    with source.labels.open("a") as file:
        file.write(row("00099999_000.png") + "\n")
    args = arguments(source, out, *options(), "--json", layout="tar.gz")
    refusal(capsys, args)
    summary = json.loads(succeed(capsys, [*args, "--partial"]))
    assert summary["stage_seconds"]["decode"] == 0
    assert summary["rows_without_image"] == 1


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
