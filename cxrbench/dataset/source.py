"""NIH's images wherever they lie: folders of any depth, NIH's tar.gz archives, Kaggle's zip, and any mix of them.

Archives are streamed, in one pass, and never unpacked to the disk.
"""

import gzip
import io
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cxrbench.errors import DataError

ARCHIVES = (".tar.gz", ".tgz", ".zip")
MAX_FILE_BYTES = 2**28
TAR_END_BYTES = 2 * tarfile.BLOCKSIZE
DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError),
    *(NotImplementedError, RuntimeError),  # a compression or an encryption that we can't read
)


@dataclass(frozen=True, slots=True)
class SourceImage:
    name: str  # without folders, as in the CSV
    where: str  # for messages
    data: bytes
    problem: str = ""  # why it can't be read; then there is no data


def is_image(path: str) -> bool:
    """A PNG, and not one of the ._ companions and __MACOSX folders that archives made on a Mac contain."""
    pure = PurePosixPath(path)
    return pure.suffix.lower() == ".png" and not pure.name.startswith("._") and "__MACOSX" not in pure.parts


def image_name(path: str) -> str:
    """As the CSV has it: without folders, and with a small .png whatever the file's."""
    return f"{PurePosixPath(path).stem}.png"


def walk(folder: Path, wanted: Callable[[str], bool]) -> Iterator[Path]:
    """Files below a folder in order of their names, through links, but never round in a circle."""
    seen: set[str] = set()
    for root, folders, files in os.walk(folder, followlinks=True, onerror=refuse_folder):
        if (real := os.path.realpath(root)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        paths = (Path(root, name) for name in sorted(files) if wanted(name))
        # Pipes and devices would never end; a broken link stays, to be named.
        yield from (path for path in paths if path.is_file() or not path.exists())


def refuse_folder(error: OSError) -> None:
    raise DataError("cannot read the folder", got=f"{error.filename}: {error.strerror}") from None


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
            problem = too_large(path.stat().st_size)
            data = b"" if problem else path.read_bytes()
        except OSError as error:
            data, problem = b"", f"cannot read it: {error.strerror}"
        yield SourceImage(image_name(path.name), str(path), data, problem)


def read_tar(archive: Path) -> Iterator[SourceImage]:
    """Through gzip, to the very end: tarfile's own reader knows neither checksums nor where a cut file should end."""
    with gzip.open(archive) as unzipped:
        tail = Tail(unzipped)
        with tarfile.open(fileobj=tail, mode="r|") as tar:
            for member in tar:
                if member.isreg() and is_image(member.name) and (file := tar.extractfile(member)):
                    problem = too_large(member.size)
                    data = b"" if problem else file.read()
                    yield SourceImage(image_name(member.name), f"{archive}:{member.name}", data, problem)
        while tail.read(TAR_END_BYTES):
            pass
        if tail.last != bytes(TAR_END_BYTES):
            raise tarfile.ReadError("it ends early")


def read_zip(archive: Path) -> Iterator[SourceImage]:
    with zipfile.ZipFile(archive) as contents:
        for info in contents.infolist():
            if not info.is_dir() and is_image(info.filename):
                problem = too_large(info.file_size)
                data = b"" if problem else contents.read(info)
                yield SourceImage(image_name(info.filename), f"{archive}:{info.filename}", data, problem)


def read_archive(archive: Path) -> Iterator[SourceImage]:
    try:
        yield from (read_zip if archive.name.endswith(".zip") else read_tar)(archive)
    except DAMAGE as error:
        raise DataError("corrupt archive", got=f"{archive}: {error}", do="download it again") from None


def find_sources(paths: Sequence[Path]) -> list[Path]:
    """The folders and archives that hold images. A folder stands for its PNGs and for the archives in it."""
    sources: list[Path] = []
    for path in paths:
        if path.is_dir():
            found = [path] if next(walk(path, is_image), None) else []
            found += walk(path, lambda name: name.endswith(ARCHIVES))
            if not found:
                raise DataError("no PNG in the folder", got=path, allowed="images, or NIH's archives of them")
            sources += found
        elif path.is_file() and path.name.endswith(ARCHIVES):
            sources.append(path)
        else:
            problem = "no such file or folder" if not path.exists() else "neither a folder nor an archive"
            raise DataError(problem, got=path, allowed=f"a folder, or a file that ends in {', '.join(ARCHIVES)}")
    return sources


def read_images(paths: Sequence[Path]) -> Iterator[SourceImage]:
    """Every image once, whatever the mix; the same name in two places is refused."""
    places: dict[str, str] = {}
    for source in find_sources(paths):
        num_before = len(places)
        for image in (read_folder if source.is_dir() else read_archive)(source):
            if image.name in places:
                raise DataError(
                    f"{image.name} is there twice", got=f"{places[image.name]} and {image.where}", do="give one of them"
                )
            places[image.name] = image.where
            yield image
        if len(places) == num_before:
            raise DataError("no PNG in the archive", got=source)
