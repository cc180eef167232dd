import hashlib
import io
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from cxrbench.dataset.tar import WrittenTar, filtered_index, header, index_text, parse_index, read_members, write_tar
from cxrbench.errors import DataError

Sample = tuple[str, list[tuple[str, bytes]]]
SAMPLES: list[Sample] = [
    (f"0000000{i}_000", [("png", bytes([i]) * size), ("json", b"{}"), ("id", f"{i:016d}".encode())])
    for i, size in enumerate((0, 1, 511, 512, 513, 70_000))
]


def write(path: Path, samples: list[Sample] = SAMPLES) -> WrittenTar:
    with path.open("wb") as file:
        return write_tar(file, iter(samples))


@pytest.fixture
def tar(tmp_path: Path) -> Path:
    write(tmp_path / "a.tar")
    return tmp_path / "a.tar"


def members_of(samples: list[Sample]) -> list[tuple[str, bytes]]:
    return [(f"{stem}.{extension}", data) for stem, files in samples for extension, data in files]


def test_tarfile_reads_what_was_written(tar: Path):
    with tarfile.open(tar) as opened:
        assert [(info.name, opened.extractfile(info).read()) for info in opened] == members_of(SAMPLES)


def test_gnu_tar_reads_what_was_written(tar: Path, tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    done = subprocess.run(["tar", "-x", "-f", tar, "-C", out], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == dict(members_of(SAMPLES))


def test_members_tell_nothing_of_who_made_them_and_when(tar: Path):
    with tarfile.open(tar) as opened:
        for info in opened:
            assert (info.mtime, info.uid, info.gid, info.uname, info.gname, info.mode) == (0, 0, 0, "", "", 0o644)
            assert (info.type, info.pax_headers) == (tarfile.REGTYPE, {})


def test_the_size_and_checksum_are_the_files(tar: Path, tmp_path: Path):
    written = write(tmp_path / "b.tar")
    data = tar.read_bytes()
    assert (written.num_bytes, written.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert len(data) % tarfile.RECORDSIZE == 0


def test_offsets_are_where_the_bytes_lie(tar: Path, tmp_path: Path):
    data = tar.read_bytes()
    written = write(tmp_path / "b.tar").samples
    found = [(member.name, data[member.offset :][: member.size]) for members in written for member in members]
    assert found == members_of(SAMPLES)


def test_the_index_is_dalis_tool_byte_for_byte(tar: Path, tmp_path: Path):
    written = write(tmp_path / "b.tar")
    subprocess.run(
        [Path(sys.executable).with_name("wds2idx"), tar, tmp_path / "theirs.idx"], capture_output=True, check=True
    )
    assert index_text(written.samples) == (tmp_path / "theirs.idx").read_text()


def test_an_index_is_read_as_it_was_written(tmp_path: Path):
    written = write(tmp_path / "a.tar")
    assert parse_index(index_text(written.samples), tmp_path) == written.samples
    assert parse_index(index_text([]), tmp_path) == []


WHOLE = "v1.2 1\npng 512 3 a.png json 1536 2 a.json\n"
BROKEN = {
    "empty": "",
    "another version": WHOLE.replace("v1.2", "v1.1"),
    "a line too few": "v1.2 2\npng 512 3 a.png json 1536 2 a.json\n",
    "a line too many": WHOLE + "png 512 3 a.png json 1536 2 a.json\n",
    "cut in a line": WHOLE[:-9],
    "cut before the last newline": WHOLE[:-1],
    "no number": WHOLE.replace("512", "x"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_indexes_are_refused_by_name(kind: str):
    with pytest.raises(DataError, match=r"index.*convert again|a\.idx"):
        parse_index(BROKEN[kind], Path("a.idx"))


def test_a_filtered_index_names_the_chosen_images_in_the_tars_order(tmp_path: Path):
    written = write(tmp_path / "a.tar").samples
    index = tmp_path / "a.idx"
    index.write_text(index_text(written))
    chosen = [written[1], written[4]]
    text = filtered_index(index, {members[0].offset for members in reversed(chosen)})
    assert text.startswith("v1.2 2\n")
    assert parse_index(text, index) == chosen
    assert filtered_index(index, {members[0].offset for members in written}) == index.read_text()


def test_a_filtered_index_is_refused_for_images_of_another_tar(tmp_path: Path):
    index = tmp_path / "a.idx"
    index.write_text(index_text(write(tmp_path / "a.tar").samples))
    with pytest.raises(DataError, match=r"a\.idx is not the index of these images.*2 images and 1"):
        filtered_index(index, {512, 513})


def test_reading_gives_every_member_with_its_place(tar: Path, tmp_path: Path):
    written = [member for members in write(tmp_path / "b.tar").samples for member in members]
    read = list(read_members(tar))
    assert [member for member, _ in read] == written
    assert [(member.name, data) for member, data in read] == members_of(SAMPLES)


def test_an_empty_tar_is_a_tar(tmp_path: Path):
    write(tmp_path / "a.tar", [])
    assert list(read_members(tmp_path / "a.tar")) == []
    with tarfile.open(tmp_path / "a.tar") as opened:
        assert opened.getnames() == []


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> Callable[[Path], None]:
    def add(path: Path) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, target
        with tarfile.open(path, "a") as tar:
            tar.addfile(info, io.BytesIO())

    return add


FOREIGN = {
    "a symbolic link": entry("a.png", tarfile.SYMTYPE, "b.png"),
    "a hard link": entry("a.png", tarfile.LNKTYPE, "00000000_000.png"),
    "a folder": entry("images", tarfile.DIRTYPE),
    "a file in a folder": entry("images/a.png"),
    "a way out": entry("../a.png"),
    "an absolute path": entry("/a.png"),
    "a device": entry("a.png", tarfile.CHRTYPE),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_anything_but_plain_files_is_refused_by_name(tar: Path, kind: str):
    FOREIGN[kind](tar)
    with pytest.raises(DataError, match=r"a\.tar holds something else.*(a\.png|images)"):
        list(read_members(tar))


def test_a_tar_cut_anywhere_is_refused(tar: Path):
    """Between two members too, where tarfile, GNU tar and webdataset notice nothing."""
    data = tar.read_bytes()
    for length in {*range(0, len(data), 512), 1, 700, len(data) - 1}:
        tar.write_bytes(data[:length])
        with pytest.raises(DataError, match=r"a\.tar"):
            list(read_members(tar))


def test_bytes_after_the_end_are_refused(tar: Path):
    tar.write_bytes(tar.read_bytes() + bytes(tarfile.RECORDSIZE))
    with pytest.raises(DataError, match="size does not fit"):
        list(read_members(tar))


def test_a_broken_header_is_refused(tar: Path):
    data = bytearray(tar.read_bytes())
    data[512 + 150] ^= 1  # the checksum in the second header: the first file is empty
    tar.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.tar"):
        list(read_members(tar))


def test_no_tar_at_all_is_refused(tmp_path: Path):
    path = tmp_path / "a.tar"
    path.write_bytes(b"\x89PNG" * 5000)
    with pytest.raises(DataError, match=r"cannot read the tar.*a\.tar"):
        list(read_members(path))


NAMES = ["a", "0.npy", "00000001_000.json", "~ !", "x" * 99, "y" * 100, *(f"{7**k:x}_{k}.id" for k in range(30))]
SIZES = [0, 1, 511, 512, 65_664, 8**8 - 1, *(13**k for k in range(9)), 8**11 - 1]


def test_headers_are_tarfiles_to_the_byte():
    for name in NAMES:
        for size in SIZES:
            info = tarfile.TarInfo(name)
            info.size = size
            assert header(name, size) == info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")


def test_a_file_too_large_for_a_plain_header_never_gets_into_a_tar():
    with pytest.raises(ValueError, match="too long"):
        header("a.png", 8**11)


@pytest.mark.parametrize("name", ["é.png", "x" * 101])
def test_names_that_need_an_extended_header_never_get_into_a_tar(name: str):
    """Their extra records would shift what the index says; the plan refuses them by name before."""
    with pytest.raises(ValueError, match=r"ordinal|too long"):
        header(name, 1)
