"""NIH's images wherever they lie: folders of any depth, NIH's tar.gz archives, Kaggle's zip, and any mix of them.

Archives are streamed, in one pass, and never unpacked to the disk.
"""

import gzip
import io
import lzma
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple

from cxrbench.errors import DataError
from cxrbench.storage import open_read, status, walk

ARCHIVES = (".tar.gz", ".tgz", ".zip")
MAX_FILE_BYTES = 2**28
TAR_END_BYTES = 2 * tarfile.BLOCKSIZE
ZIP_HEADER = struct.Struct("<4s2xH18xHH")  # signature, flags, lengths of the name and of the extra field, which follow
ENCRYPTED, PATCHED, STRONGLY_ENCRYPTED, UTF_8 = 1, 1 << 5, 1 << 6, 1 << 11  # flags of a zip's member
DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError),
    *(NotImplementedError, RuntimeError),  # a compression or an encryption that we can't read
    UnicodeDecodeError,  # of a name in a zip
)


@dataclass(frozen=True, slots=True)
class SourceImage:
    name: str  # without folders, as in the CSV
    where: str  # for messages
    data: bytes
    problem: str = ""  # why it can't be read; then there is no data


class ZipMember(NamedTuple):
    """What a zip's directory says of a file: enough to read it without the directory, which names all files."""

    name: str
    offset: int  # of its header
    num_stored: int  # bytes, compressed
    size: int
    crc: int
    method: int
    flags: int
    header_name: str  # other than the name, where that is repaired


def is_image(path: str) -> bool:
    """A PNG, and not one of the ._ companions and __MACOSX folders that archives made on a Mac contain."""
    pure = PurePosixPath(path)
    return pure.suffix.lower() == ".png" and not pure.name.startswith("._") and "__MACOSX" not in pure.parts


def image_name(path: str) -> str:
    """As the CSV has it: without folders, and with a small .png whatever the file's."""
    return f"{PurePosixPath(path).stem}.png"


def too_large(num_bytes: int) -> str:
    """No PNG of an X-ray has as many bytes; reading what claims to could fill the memory."""
    return f"{num_bytes:,} bytes, more than {MAX_FILE_BYTES:,}" if num_bytes > MAX_FILE_BYTES else ""


class Tail(io.RawIOBase):
    """A file that remembers the last bytes read from it: a whole tar ends in two empty blocks."""

    def __init__(self, file: gzip.GzipFile) -> None:
        super().__init__()
        self.file, self.last = file, b""

    def read(self, size: int = -1) -> bytes:
        data = self.file.read(size)
        self.last = (self.last + data[-TAR_END_BYTES:])[-TAR_END_BYTES:]
        return data


def read_folder(folder: Path) -> Iterator[SourceImage]:
    for path in walk(folder, is_image):
        try:
            with open_read(path) as file:
                problem = too_large(status(path).size)
                data = b"" if problem else file.read()
        except OSError as error:
            data, problem = b"", f"cannot read it: {error.strerror}"
        yield SourceImage(image_name(path.name), str(path), data, problem)


def read_tar(archive: Path) -> Iterator[SourceImage]:
    """Through gzip, to the very end: tarfile's own reader knows neither checksums nor where a cut file should end."""
    with open_read(archive) as file, gzip.open(file) as unzipped:
        tail = Tail(unzipped)
        with tarfile.open(fileobj=tail, mode="r|") as tar:
            for member in tar:
                if member.isreg() and is_image(member.name) and (content := tar.extractfile(member)):
                    problem = too_large(member.size)
                    data = b"" if problem else content.read()
                    yield SourceImage(image_name(member.name), f"{archive}:{member.name}", data, problem)
        while tail.read(TAR_END_BYTES):
            pass
        if tail.last != bytes(TAR_END_BYTES):
            raise tarfile.ReadError("it ends early")


def read_zip(archive: Path) -> Iterator[SourceImage]:
    members = zip_members(archive)
    with open_read(archive) as file:
        for member in members:
            problem = too_large(member.size)
            data = b"" if problem else read_member(file, member)
            yield SourceImage(image_name(member.name), f"{archive}:{member.name}", data, problem)


def zip_members(archive: Path) -> list[ZipMember]:
    """The images in a zip."""
    with open_read(archive) as file, zipfile.ZipFile(file) as contents:
        return [
            ZipMember(
                *(each.filename, each.header_offset, each.compress_size, each.file_size),
                *(each.CRC, each.compress_type, each.flag_bits, each.orig_filename),
            )
            for each in contents.infolist()
            if not each.is_dir() and is_image(each.filename)
        ]


def read_member(file: BinaryIO, member: ZipMember) -> bytes:
    """As zipfile reads it, with its checks and its messages, but without the directory."""
    if member.flags & PATCHED:
        raise NotImplementedError("compressed patched data (flag bit 5)")
    if member.flags & STRONGLY_ENCRYPTED:
        raise NotImplementedError("strong encryption (flag bit 6)")
    if member.flags & ENCRYPTED:
        raise RuntimeError(f"File {member.name!r} is encrypted, password required for extraction")
    file.seek(member.offset)
    header = file.read(ZIP_HEADER.size)
    if len(header) != ZIP_HEADER.size:
        raise zipfile.BadZipFile("Truncated file header")
    signature, flags, num_name, num_extra = ZIP_HEADER.unpack(header)
    if signature != b"PK\3\4":
        raise zipfile.BadZipFile("Bad magic number for file header")
    name = file.read(num_name)
    if name.decode("utf-8" if flags & UTF_8 else "cp437", "replace") != member.header_name:
        raise zipfile.BadZipFile(f"File name in directory {member.header_name!r} and header {name!r} differ.")
    file.seek(num_extra, io.SEEK_CUR)
    info = zipfile.ZipInfo(member.name)
    info.compress_type, info.compress_size = member.method, member.num_stored
    info.file_size, info.CRC = member.size, member.crc
    with zipfile.ZipExtFile(file, "r", info) as content:
        data = content.read()
    if len(data) != member.size:
        raise zipfile.BadZipFile(f"{len(data):,} bytes instead of {member.size:,}")
    return data


def read_archive(archive: Path) -> Iterator[SourceImage]:
    try:
        yield from (read_zip if archive.name.endswith(".zip") else read_tar)(archive)
    except DAMAGE as error:
        raise DataError("corrupt archive", got=f"{archive}: {error}", do="download it again") from None


def find_sources(paths: Sequence[Path]) -> list[Path]:
    """The folders and archives that hold images. A folder stands for its PNGs and for the archives in it."""
    sources: list[Path] = []
    for path in paths:
        kind = status(path).kind
        if kind == "folder":
            found = [path] if next(walk(path, is_image), None) else []
            found += walk(path, lambda name: name.endswith(ARCHIVES))
            if not found:
                raise DataError("no PNG in the folder", got=path, allowed="images, or NIH's archives of them")
            sources += found
        elif kind == "file" and path.name.endswith(ARCHIVES):
            sources.append(path)
        else:
            problem = "no such file or folder" if kind == "nothing" else "neither a folder nor an archive"
            raise DataError(problem, got=path, allowed=f"a folder, or a file that ends in {', '.join(ARCHIVES)}")
    return sources


def read_images(paths: Sequence[Path]) -> Iterator[SourceImage]:
    """Every image once, whatever the mix; the same name in two places is refused."""
    places: dict[str, str] = {}
    for source in find_sources(paths):
        num_before = len(places)
        for image in (read_folder if status(source).kind == "folder" else read_archive)(source):
            if image.name in places:
                raise DataError(
                    f"{image.name} is there twice", got=f"{places[image.name]} and {image.where}", do="give one of them"
                )
            places[image.name] = image.where
            yield image
        if len(places) == num_before:
            raise DataError("no PNG in the archive", got=source)
