"""Damage that readers overlook: each kind is caught and named by `cxrbench verify`, in one line a problem."""

import io
import json
import re
import shutil
import tarfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cxrbench.cli import main
from cxrbench.dataset.manifest import read_manifest, write_manifest
from cxrbench.labels import NIH14
from tests.conversions import arguments, make_source, refusal, succeed

FIRST, SECOND = "000000.tar", "000001.tar"


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("clean")
    source = make_source(base / "source", 40)
    (source.folder / "00000001_900.png").write_bytes(b"")
    (labels := source.labels).write_text(labels.read_text() + "00000001_900.png,Mass,0,1,50,F,PA,64,64,1,1\n")
    args = arguments(source, base / "set", "--size", 64, "--images-per-shard", 8, "--on-bad", "quarantine")
    assert main([*args, "--workers", "1"]) == 0
    return base / "set"


@pytest.fixture
def data(clean: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    shutil.copytree(clean, tmp_path / "set")
    return tmp_path / "set"


def problems_of(capsys: pytest.CaptureFixture[str], data: Path, *more: str) -> list[str]:
    """The problems named, after which the last line says how many there are."""
    code = main(["verify", str(data), "--workers", "1", *more])
    captured = capsys.readouterr()
    *lines, last = captured.err.splitlines()
    assert (code, captured.out) == (1, "")
    assert last == f"cxrbench: error: {data} is damaged; got {len(lines)} problems; remove it and convert again"
    assert all(line.startswith("cxrbench: bad: ") for line in lines)
    return [line.removeprefix("cxrbench: bad: ") for line in lines]


def flip(path: Path, at: int | None = None) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if at is None else at] ^= 1
    path.write_bytes(data)


def ends_of_members(path: Path) -> list[int]:
    with tarfile.open(path) as tar:
        return [member.offset for member in tar][1:]


def rewrite(path: Path, change: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes]]) -> None:
    """The tar with one member changed, whole in itself."""
    with tarfile.open(path) as tar:
        members = [(info, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]
    members[4] = change(*members[4])
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))


def adjust(data: Path, **other: Any) -> None:
    """A manifest that fits what lies there, so that nothing but a look inside can tell."""
    manifest = read_manifest(data)
    for entry in manifest["shards"]:
        tar, index = data / entry["file"], (data / entry["file"]).with_suffix(".idx")
        entry["bytes"], entry["sha256"] = tar.stat().st_size, sha256(tar.read_bytes()).hexdigest()
        entry["index_sha256"] = sha256(index.read_bytes()).hexdigest()
    manifest["samples_sha256"] = sha256((data / "samples.parquet").read_bytes()).hexdigest()
    write_manifest(manifest | other, data)


@pytest.mark.parametrize("more", [[], ["--quick"]])
def test_a_clean_set_is_right(more: list[str], clean: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert re.search(r"40 images in 6 shards; .* right\n$", succeed(capsys, ["verify", str(clean), *more]))


@pytest.mark.parametrize("name", [FIRST, "000001.idx", "samples.parquet", "quarantine.csv"])
def test_a_flipped_bit_is_named_once(name: str, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flip(data / name)
    [line] = problems_of(capsys, data)
    assert line.startswith(f"{name} has another checksum than the manifest's")
    if name == FIRST:
        assert "right" in succeed(capsys, ["verify", str(data), "--quick"])  # which does not read the tars
    else:
        assert problems_of(capsys, data, "--quick") == [line]


@pytest.mark.parametrize("share", [0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.9999])
def test_a_flipped_bit_of_the_manifest_is_one_line(
    share: float, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever it says then, and even if it says nothing else: a space that became another character."""
    path = data / "dataset.json"
    flip(path, int(share * path.stat().st_size))
    for more in ([], ["--quick"]):
        line = refusal(capsys, ["verify", str(data), *more])
        assert f"{path} is damaged" in line or "a data set of another version" in line


def test_every_place_of_the_manifest_is_covered(data: Path) -> None:
    """A new line for a space is the same JSON and still not the file that was written."""
    path = data / "dataset.json"
    path.write_text(path.read_text().replace("\n  ", "\n\n  ", 1))
    with pytest.raises(Exception, match="another checksum than its own"):
        read_manifest(data)


@pytest.mark.parametrize("name", [FIRST, "000004.idx", "samples.parquet", "quarantine.csv"])
@pytest.mark.parametrize("more", [[], ["--quick"]])
def test_a_missing_file_is_named_once(
    name: str, more: list[str], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / name).unlink()
    assert problems_of(capsys, data, *more) == [f"{name} is missing"]


@pytest.mark.parametrize("more", [[], ["--quick"]])
def test_an_extra_file_is_named(more: list[str], data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(data / FIRST, data / "000009.tar")
    (data / "deeper").mkdir()
    assert problems_of(capsys, data, *more) == [
        "000009.tar does not belong here: remove it",
        "deeper does not belong here: remove it",
    ]


@pytest.mark.parametrize("more", [[], ["--quick"]])
def test_a_tar_cut_between_two_members_is_named(
    more: list[str], data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tar = data / FIRST
    tar.write_bytes(tar.read_bytes()[: ends_of_members(tar)[5]])
    [line] = problems_of(capsys, data, *more)
    assert re.fullmatch(r"000000\.tar has [\d,]+ bytes instead of [\d,]+", line)


@pytest.mark.parametrize("ended", [False, True], ids=["cut", "ended as tars end"])
def test_a_cut_tar_is_found_by_its_members_alone(ended: bool, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The manifest fits the shorter tar; every reader would be content with it."""
    tar = data / FIRST
    content = tar.read_bytes()[: ends_of_members(tar)[5]]
    if ended:
        content += bytes(1024)
        content += bytes(-len(content) % tarfile.RECORDSIZE)
    tar.write_bytes(content)
    adjust(data)
    lines = problems_of(capsys, data)
    if ended:
        assert lines == [
            "000000.tar and its index do not describe the same members",
            "000000.tar and the table do not hold the same images",
        ]
    else:
        assert lines == [f"the tar's size does not fit its content; got {tar}; convert again"]


@pytest.mark.parametrize("more", [[], ["--quick"]])
def test_another_tars_index_is_named(more: list[str], data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(data / "000001.idx", data / "000000.idx")
    [line] = problems_of(capsys, data, *more)
    assert line == "000000.idx has another checksum than the manifest's: it may belong to another tar"


def test_another_tars_index_is_found_by_its_content_alone(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(data / "000001.idx", data / "000000.idx")
    adjust(data)
    assert problems_of(capsys, data) == ["000000.tar and its index do not describe the same members"]


def swap(data: Path, *endings: str) -> None:
    for ending in endings:
        first, second = data / f"000000{ending}", data / f"000001{ending}"
        content = first.read_bytes()
        first.write_bytes(second.read_bytes())
        second.write_bytes(content)


def test_swapped_shards_are_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    swap(data, ".tar")
    assert [line.split()[0] for line in problems_of(capsys, data)] == [FIRST, SECOND]
    swap(data, ".idx")
    assert sorted({line.split(".")[0] for line in problems_of(capsys, data, "--quick")}) == ["000000", "000001"]
    adjust(data)
    same = "and the table do not hold the same images"
    assert problems_of(capsys, data) == [f"{FIRST} {same}", f"{SECOND} {same}"]


def renamed(name: str) -> Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes]]:
    def change(info: tarfile.TarInfo, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
        info.name = name
        return info, content

    return change


def linked(kind: bytes) -> Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes]]:
    def change(info: tarfile.TarInfo, _: bytes) -> tuple[tarfile.TarInfo, bytes]:
        info.type, info.linkname, info.size = kind, "/etc/passwd", 0
        return info, b""

    return change


@pytest.mark.parametrize(
    "change",
    [renamed("../x.json"), renamed("/x.json"), renamed(".."), linked(tarfile.SYMTYPE), linked(tarfile.LNKTYPE)],
    ids=["parent", "root", "dots", "symlink", "hardlink"],
)
def test_a_member_that_would_lead_out_of_the_folder_is_named(
    change: Callable[[tarfile.TarInfo, bytes], tuple[tarfile.TarInfo, bytes]],
    data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Even where every checksum fits."""
    rewrite(data / FIRST, change)
    adjust(data)
    lines = problems_of(capsys, data)
    assert all(FIRST in line for line in lines)


def test_another_id_is_found_by_the_table_alone(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """DALI and webdataset take the labels by id, so a wrong one is a wrong label."""
    tar = data / FIRST
    content = tar.read_bytes()
    tar.write_bytes(content.replace(b"0000000000000003", b"0000000000000004"))
    assert tar.read_bytes() != content
    adjust(data)
    assert problems_of(capsys, data) == [f"{FIRST} and the table do not hold the same images"]


def test_other_pixels_are_found_by_the_table_alone(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a wrong byte before the tar was written would leave: every checksum fits but that of the pixels."""
    path = data / FIRST
    content = bytearray(path.read_bytes())
    content[512 + 128 + 5] ^= 1  # of the first image, behind the headers of tar and npy
    path.write_bytes(bytes(content))
    adjust(data)
    assert problems_of(capsys, data) == [f"{FIRST} holds other pixels than the table says"]


@pytest.mark.parametrize("more", [[], ["--quick"]])
def test_a_table_with_other_rows_is_named(more: list[str], data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = pq.read_table(io.BytesIO((data / "samples.parquet").read_bytes()))
    pq.write_table(table.slice(1), data / "samples.parquet")
    adjust(data)
    num_rows = read_manifest(data)["shards"][0]["samples"]
    line = f"{FIRST}: {num_rows - 1} rows in the table, {num_rows} in the manifest"
    assert problems_of(capsys, data, *more)[0] == line
    strange = table.set_column(table.column_names.index("shard"), "shard", pa.array([77] * len(table)))
    pq.write_table(strange, data / "samples.parquet")
    adjust(data)
    assert "samples.parquet has rows of shard 77, which the manifest lacks" in problems_of(capsys, data, *more)


def test_a_table_that_is_none_is_one_line(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "samples.parquet").write_bytes(b"PAR1 and then nothing")
    assert problems_of(capsys, data) == ["samples.parquet has another checksum than the manifest's"]
    adjust(data)
    [line] = problems_of(capsys, data)
    assert line.startswith("samples.parquet cannot be read")


def test_what_is_no_data_set_is_one_line(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / ".work").mkdir()
    (data / "dataset.json").unlink()
    assert "run the same `cxrbench shard` again to finish it" in refusal(capsys, ["verify", str(data)])
    (tmp_path / "file").write_text("no folder")
    line = refusal(capsys, ["verify", str(tmp_path)])
    assert f"not a finished data set; got {tmp_path}; make one with `cxrbench shard`" in line
    for path in (tmp_path / "nowhere", tmp_path / "file"):
        assert f"no such folder; got {path}" in refusal(capsys, ["verify", str(path)])


def rewrite_about(data: Path, number: int, change: Callable[[dict[str, Any]], bytes]) -> str:
    """Another JSON of an image, of the same length, so that only its content tells; the image's name."""
    with tarfile.open(data / FIRST) as tar:
        info = [member for member in tar if member.name.endswith(".json")][number]
        before = tar.extractfile(info).read()  # type: ignore[union-attr]
    about = json.loads(before)
    name, after = about["name"], change(about)
    assert len(after) == len(before)
    assert after != before
    content = (data / FIRST).read_bytes()
    (data / FIRST).write_bytes(content.replace(before, after))
    return name


def saying(**other: Any) -> Callable[[dict[str, Any]], bytes]:
    return lambda about: json.dumps(about | other).encode()


SAYS = {
    "labels": (saying(labels=["Mask"]), r"labels \['Mask'\] instead of \['Mass'\]"),
    "patient": (saying(patient=9), r"patient 9 instead of \d"),
    "age": (saying(age=51), "age 51 instead of 50"),
    "sex": (saying(sex="M"), "sex 'M' instead of 'F'"),
    "view": (saying(view="AP"), "view 'AP' instead of 'PA'"),
    "width": (saying(width=65), "width 65 instead of 64"),
    "height": (saying(height=46), "height 46 instead of 64"),
    "name": (saying(name="00000009_009.png"), r"name '00000009_009\.png' instead of '\d+_\d+\.png'"),
    "two": (saying(age=49, sex="M"), "age 49 instead of 50, sex 'M' instead of 'F'"),
    "no JSON": (lambda about: json.dumps(about).encode()[:-1] + b" ", "nothing that can be read"),
    "a list": (lambda about: b"[1]".ljust(len(json.dumps(about))), "nothing that can be read"),
    "order": (lambda about: json.dumps(dict(reversed(about.items()))).encode(), "the same in other words"),
}


@pytest.mark.parametrize("kind", SAYS)
def test_a_json_that_says_something_else_than_the_table_is_named(
    kind: str, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Users of webdataset and of Hugging Face take the labels from it."""
    change, says = SAYS[kind]
    name = rewrite_about(data, number_of_first(data, "Mass"), change)
    adjust(data)
    [line] = problems_of(capsys, data)
    assert re.fullmatch(rf"{FIRST}: the JSON of {name} says {says}", line), line
    assert "right" in succeed(capsys, ["verify", str(data), "--quick"])


def number_of_first(data: Path, finding: str) -> int:
    rows = pq.read_table(data / "samples.parquet").to_pylist()
    in_first = sorted((row for row in rows if row["shard"] == 0), key=lambda row: row["offset"])
    return next(k for k, row in enumerate(in_first) if row[finding] and sum(row[name] for name in NIH14) == 1)


def test_every_json_that_is_wrong_is_named(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [rewrite_about(data, number, saying(age=51)) for number in (0, 3)]
    adjust(data)
    lines = problems_of(capsys, data)
    assert lines == [f"{FIRST}: the JSON of {name} says age 51 instead of 50" for name in names]
