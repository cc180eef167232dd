"""What becomes of bad, missing, repeated and odd images in a conversion, and how much memory it takes."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxrbench.cli import main
from cxrbench.dataset.manifest import read_manifest, read_samples
from cxrbench.dataset.phantom.defects import KINDS
from tests.conftest import Run, row, write_csv, write_png
from tests.conversions import LAYOUTS, Source, arguments, command, make_archive, make_source, refusal, succeed, tree
from tests.e2e.conftest import NUM_IMAGES, shard

UNDECODABLE = ("truncated", "empty", "bad_crc", "text")


def test_rows_and_images_without_each_other_are_counted_and_partial_takes_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the folder where the complaint was made: nothing is recorded before the table fits."""
    source = make_source(tmp_path / "source", NUM_IMAGES)
    out = tmp_path / "set"
    gone = sorted(source.folder.iterdir())[:3]
    for path in gone:
        path.unlink()
    line = refusal(capsys, shard(source, out))
    assert "rows have no image; got 3, such as " in line
    assert gone[0].name in line
    assert "or take what matches: --partial" in line
    other = Source(source.folder, write_csv(tmp_path / "other.csv", [row("00000001_000.png")]), source.zip, [])
    write_png(source.folder / "00000001_000.png")
    assert f"images have no row; got {NUM_IMAGES - 3}" in refusal(capsys, shard(other, out))
    write_png(source.folder / "00099999_000.png")
    (source.folder / "00000001_000.png").unlink()
    printed = succeed(capsys, shard(source, out, "--partial"))
    assert f"{NUM_IMAGES - 3} images in 6 shards; rows without image: 3; images without row: 1" in printed
    about = read_manifest(out)
    assert (about["images"], about["rows_without_image"], about["images_without_row"]) == (NUM_IMAGES - 3, 3, 1)


@pytest.fixture(scope="module")
def defects(tmp_path_factory: pytest.TempPathFactory, cli: Run) -> Path:
    out = tmp_path_factory.mktemp("defects") / "set"
    done = cli("synth", "--out", out, "--images", 120, "--size", 64, "--defects", "--workers", 1)
    assert done.returncode == 0, done.stderr
    return out


def planted(defects: Path) -> dict[str, str]:
    return {defect["kind"]: defect["name"] for defect in json.loads((defects / "truth.json").read_text())["defects"]}


def of_defects(defects: Path, out: Path, *more: object) -> list[str]:
    labels = defects / "Data_Entry_2017_v2020.csv"
    source = Source(defects / "images", labels, defects / "none.zip", [defects / "images.tar.gz"])
    return arguments(source, out, "--images-per-shard", 16, "--size", 64, "--workers", 1, "--partial", *more)


@pytest.mark.parametrize("layout", ["folder", "tar.gz"])
def test_every_planted_defect_is_listed_left_out_or_converted(
    layout: str, defects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds, out = planted(defects), tmp_path / "set"
    assert set(kinds) == set(KINDS)
    if layout == "tar.gz":
        make_archive(defects / "images.tar.gz", sorted((defects / "images").iterdir()))
    args = of_defects(defects, out, "--encoding", "png")
    args[2] = str(defects / {"folder": "images", "tar.gz": "images.tar.gz"}[layout])

    assert main(args) == 1
    *bad, last = capsys.readouterr().err.splitlines()
    expected = {kinds[kind]: kind for kind in UNDECODABLE}
    reasons = dict(re.fullmatch(r"cxrbench: bad image: (\S+): (.+)", line).groups() for line in bad)  # type: ignore
    assert sorted(reasons) == sorted(expected)
    assert last.startswith(f"cxrbench: error: images are bad; got {len(expected)}, named above; repair them")
    assert not (out / "dataset.json").exists()

    printed = succeed(capsys, [*args, "--on-bad", "quarantine"])
    assert f"quarantined: {len(expected)}; rows without image: 1; images without row: 1" in printed
    with (out / "quarantine.csv").open() as file:
        assert dict(list(csv.reader(file))[1:]) == reasons
    about, samples = read_manifest(out), read_samples(out)
    assert about["images"] == len(samples) == 120 - 2 - len(expected)  # one has no image, one no row
    assert (about["quarantined"], about["rows_without_image"], about["images_without_row"]) == (len(expected), 1, 1)
    assert samples["id"].is_unique
    assert not set(samples["name"]) & {*reasons, kinds["image_missing"], kinds["row_missing"]}
    converted = {kinds[kind] for kind in ("rgba", "palette", "gray16", "byte_duplicate", "pixel_duplicate")}
    assert converted < set(samples["name"])
    assert "right" in succeed(capsys, ["verify", str(out), "--workers", "1"])


def test_bad_images_are_told_the_same_by_any_number_of_workers(
    defects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], cli: Run
) -> None:
    more = ("--encoding", "png", "--on-bad", "quarantine")
    succeed(capsys, of_defects(defects, tmp_path / "one", *more))
    done = cli(*of_defects(defects, tmp_path / "three", *more, "--workers", 3))
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "one") == tree(tmp_path / "three")


@pytest.mark.parametrize("layout", ["folder", "tar.gz"])
def test_other_shapes_are_bad_images_where_pixels_are_unencoded(
    layout: str, defects: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Named with all the others, before anything is final; or left out with them."""
    kinds, out = planted(defects), tmp_path / "set"
    if layout == "tar.gz":
        make_archive(defects / "images.tar.gz", sorted((defects / "images").iterdir()))
    args = of_defects(defects, out)
    args[2] = str(defects / {"folder": "images", "tar.gz": "images.tar.gz"}[layout])

    assert main(args) == 1
    *bad, last = capsys.readouterr().err.splitlines()
    reason = "85x64 pixels, not 64x64 as the others: npy wants one shape"
    assert f"cxrbench: bad image: {kinds['wrong_size']}: {reason}" in bad
    assert all(any(kinds[kind] in line for line in bad) for kind in UNDECODABLE)
    assert len(bad) == len(UNDECODABLE) + 1
    assert f"images are bad; got {len(bad)}" in last
    assert not (out / "dataset.json").exists()

    succeed(capsys, [*args, "--on-bad", "quarantine"])
    about, samples = read_manifest(out), read_samples(out)
    assert (about["shape"], about["quarantined"]) == ([64, 64], len(bad))
    assert set(samples["width"]) == set(samples["height"]) == {64}
    assert f'{kinds["wrong_size"]},"{reason}"' in (out / "quarantine.csv").read_text()
    assert "right" in succeed(capsys, ["verify", str(out), "--workers", "1"])


def reshape(paths: Sequence[Path], size: tuple[int, int]) -> None:
    for path in paths:
        image = Image.open(path).resize(size)
        path.unlink()  # which has other names
        image.save(path)


def test_the_shape_is_that_of_most_of_the_first_images_in_every_part(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, out = make_source(tmp_path / "source", NUM_IMAGES), tmp_path / "set"
    succeed(capsys, shard(source, tmp_path / "plain"))
    order = [ours.folder / name for name in read_samples(tmp_path / "plain")["name"]]
    reshape([*order[:8], *order[16:]], (48, 60))
    order[0].write_bytes(b"")  # so that the seventeenth tells as well: a tie of 8, and the first of them counts
    args = shard(ours, out, "--on-bad", "quarantine")
    for more in (("--part", "1/2"), ("--part", "2/2"), ("--finalise",)):
        succeed(capsys, [*args, *more])
    about = read_manifest(out)
    assert (about["shape"], about["images"], about["quarantined"]) == ([60, 48], NUM_IMAGES - 9, 9)
    assert f'{order[8].name},"48x48 pixels, not 48x60 as the others' in (out / "quarantine.csv").read_text()


def test_another_shape_than_a_set_was_begun_with_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ours, out = make_source(tmp_path / "source", NUM_IMAGES), tmp_path / "set"
    succeed(capsys, shard(ours, out, "--part", "1/2"))
    reshape(sorted(ours.folder.iterdir()), (48, 60))
    for more in (("--part", "2/2"), ("--finalise",)):
        line = refusal(capsys, shard(ours, out, *more))
        assert f"{out} was begun with other options; got shape [48, 48] there and [60, 48] now" in line


def test_images_that_were_all_bad_have_no_shape_until_they_are_repaired(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, out = make_source(tmp_path / "source", 9), tmp_path / "set"
    content = {path: path.read_bytes() for path in ours.folder.iterdir()}
    for path in content:
        path.unlink()
        path.write_bytes(b"")
    assert main(shard(ours, out)) == 1
    assert "images are bad; got 9" in capsys.readouterr().err
    for path, data in content.items():
        path.write_bytes(data)
    succeed(capsys, shard(ours, out))
    assert read_manifest(out)["shape"] == [48, 48]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_image_far_longer_than_wide_is_a_bad_image(
    layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In every encoding: resized, it would fill the memory."""
    images, name = tmp_path / "images", "00000002_000.png"
    images.mkdir()
    write_png(images / "00000001_000.png")
    Image.new("L", (1, 5000)).save(images / name)
    labels = write_csv(tmp_path / "labels.csv", [row(path.name) for path in images.iterdir()])
    zipped = Path(shutil.make_archive(str(tmp_path / "images"), "zip", images))
    ours = Source(images, labels, zipped, [make_archive(tmp_path / "images.tar.gz", sorted(images.iterdir()))])
    succeed(capsys, shard(ours, tmp_path / "set", "--encoding", "png", "--on-bad", "quarantine", layout=layout))
    reason = "1x5000 pixels, the long side of 5000 more than 8 times the short side of 1"
    assert f'{name},"bad PNG; got {reason}"' in (tmp_path / "set" / "quarantine.csv").read_text()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_bad_image_that_was_repaired_is_picked_up(
    layout: str, plain: dict[str, bytes], tmp_path: Path, cli: Run
) -> None:
    out = tmp_path / "set"
    ours = make_source(tmp_path / "source", NUM_IMAGES)
    victim = sorted(ours.folder.iterdir())[5]
    content = victim.read_bytes()
    victim.unlink()  # which has other names

    def put(data: bytes) -> None:
        victim.write_bytes(data)
        shutil.make_archive(str(ours.zip.with_suffix("")), "zip", ours.folder)
        make_archive(ours.archives[0], sorted(ours.folder.iterdir()))

    ours = Source(ours.folder, ours.labels, ours.zip, ours.archives[:1])
    put(content[:-5])
    done = cli(*shard(ours, out, layout=layout))
    assert done.returncode == 1
    assert f"bad image: {victim.name}: bad PNG; got a file cut short" in done.stderr
    kept = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    put(content)
    done = cli(*shard(ours, out, layout=layout))
    assert done.returncode == 0, done.stderr
    again = [name for name, when in kept.items() if (out / name).stat().st_mtime_ns != when]
    assert len(again) == 1  # the one that the image is in
    assert tree(out) == plain


def test_an_image_damaged_in_the_zip_is_a_bad_image(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_source(tmp_path / "source", NUM_IMAGES)
    data = bytearray(source.zip.read_bytes())
    data[len(data) // 2] ^= 255
    source.zip.write_bytes(data)
    succeed(capsys, shard(source, tmp_path / "set", "--on-bad", "quarantine", layout="zip"))
    about = read_manifest(tmp_path / "set")
    assert (about["images"], about["quarantined"]) == (NUM_IMAGES - 1, 1)
    assert "damaged in the zip" in (tmp_path / "set" / "quarantine.csv").read_text()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_image_that_is_there_twice_is_refused(
    layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twice in one archive as well."""
    source = make_source(tmp_path / "source", NUM_IMAGES, num_archives=1)
    twice = sorted(source.folder.iterdir())[0]
    make_archive(source.archives[0], [*sorted(source.folder.iterdir()), twice])
    (source.folder / "deeper").mkdir()
    write_png(source.folder / "deeper" / twice.name)
    if layout == "zip":
        shutil.make_archive(str(source.zip.with_suffix("")), "zip", source.folder)
    where = source.images(layout)[0]
    line = refusal(capsys, shard(source, tmp_path / "set", layout=layout))
    assert f"{twice.name} is there twice; got {where}" in line


def peak_bytes(args: Sequence[str]) -> int:
    """The most memory that the command and each of its processes ever held, added up."""
    process = subprocess.Popen(command(args), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    peaks: dict[str, int] = {}
    while process.poll() is None:
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, TypeError):  # it has ended
                if os.getpgid(int(folder.name)) == process.pid:
                    most = re.search(r"VmHWM:\s+(\d+) kB", (folder / "status").read_text())
                    peaks[folder.name] = int(most[1]) * 1024  # type: ignore[index]
        time.sleep(0.01)
    _, stderr = process.communicate()
    assert process.returncode == 0, stderr
    return sum(peaks.values())


@pytest.fixture(scope="module")
def few_and_many(tmp_path_factory: pytest.TempPathFactory) -> list[Source]:
    base = tmp_path_factory.mktemp("many")
    return [make_source(base / str(number), number, size_px=256, num_archives=2) for number in (1_000, 10_000)]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("layout", "most"), [("folder", 1.1), ("zip", 1.15), ("tar.gz", 1.1)])
def test_memory_does_not_grow_with_the_number_of_images(
    layout: str, most: float, few_and_many: list[Source], tmp_path: Path
) -> None:
    """But for a zip's directory, which one process reads once."""
    more = ("--images-per-shard", 128, "--workers", 2)
    few, many = (
        peak_bytes(arguments(source, tmp_path / str(number), *more, layout=layout))
        for number, source in enumerate(few_and_many)
    )
    assert many < most * few
    assert many < 1e9


def test_the_pixels_stored_are_pillows_resize_of_the_source(
    source: Source, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The oracle for all the above: were every way wrong alike, comparing them would not tell."""
    out = tmp_path / "set"
    succeed(capsys, shard(source, out))
    for sample in read_samples(out).sample(5, random_state=0).itertuples():
        data = (out / f"{sample.shard:06d}.tar").read_bytes()[sample.offset : sample.offset + sample.size]
        stored = np.frombuffer(data[-48 * 48 :], np.uint8).reshape(48, 48)
        image = Image.open(source.folder / sample.name)
        assert np.array_equal(stored, np.asarray(image.resize((48, 48), Image.Resampling.BILINEAR)))
