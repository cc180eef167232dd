"""Plain tar shards that come out the same everywhere, with DALI's index written from the offsets known while writing.

A sample is STEM.EXTENSION (the image), STEM.json and STEM.id, in this order. Any tar program reads it; so do the
webdataset library, Hugging Face datasets and DALI, with what they decode by default.
"""

import hashlib
import tarfile
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from cxrbench.errors import DataError
from cxrbench.storage import open_read, read_text, status

INDEX_VERSION = "v1.2"
BLOCK_BYTES = tarfile.BLOCKSIZE
ID_DIGITS = 16
BLANK = tarfile.TarInfo().tobuf(tarfile.USTAR_FORMAT)  # of nobody, at no time, to be read by all
OWNER_AND_MODE, TIME, REST = BLANK[100:124], BLANK[136:148], BLANK[156:]  # around name, size and checksum
SUM_OF_REST = sum(OWNER_AND_MODE + TIME + REST) + 8 * ord(" ")  # for the checksum, it is taken for spaces
MAX_MEMBER_BYTES = 8**11 - 1


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a sample: where its bytes lie in the tar."""

    extension: str
    offset: int
    size: int
    name: str


@dataclass(frozen=True, slots=True)
class WrittenTar:
    num_bytes: int
    sha256: str
    samples: list[list[Member]]


def header(name: str, size: int) -> bytes:
    """As tarfile makes it, to the byte, in a tenth of its time."""
    if len(name) > tarfile.LENGTH_NAME or size > MAX_MEMBER_BYTES:
        raise ValueError(f"name or content too long: {name}, {size} bytes")
    named, sized = name.encode("ascii").ljust(tarfile.LENGTH_NAME, b"\0"), b"%011o\0" % size
    checksum = b"%06o\0 " % (sum(named) + sum(sized) + SUM_OF_REST)
    return named + OWNER_AND_MODE + sized + TIME + checksum + REST


def padding(num_bytes: int, unit: int) -> bytes:
    return bytes(-num_bytes % unit)


def write_tar(file: BinaryIO, samples: Iterator[tuple[str, list[tuple[str, bytes]]]]) -> WrittenTar:
    """Samples (a stem, and the extension and content of each of its files) as they come; one is held at a time."""
    digest, position, written = hashlib.sha256(), 0, []

    def put(data: bytes) -> None:
        nonlocal position
        file.write(data)
        digest.update(data)
        position += len(data)

    for stem, files in samples:
        members = []
        for extension, data in files:
            name = f"{stem}.{extension}"
            put(header(name, len(data)))
            members.append(Member(extension, position, len(data), name))
            put(data + padding(len(data), BLOCK_BYTES))
        written.append(members)
    put(bytes(2 * BLOCK_BYTES))
    put(padding(position, tarfile.RECORDSIZE))
    return WrittenTar(position, digest.hexdigest(), written)


def index_text(samples: Sequence[Sequence[Member]]) -> str:
    """What DALI's `wds2idx` writes. A part of the samples makes an index that reads only these."""
    lines = [" ".join(f"{m.extension} {m.offset} {m.size} {m.name}" for m in members) for members in samples]
    return "\n".join([f"{INDEX_VERSION} {len(samples)}", *lines]) + "\n"


def parse_index(text: str, path: Path) -> list[list[Member]]:
    first, *lines = text.split("\n")
    try:
        samples = []
        for line in lines[:-1]:
            words = line.split(" ")
            fields = [words[i : i + 4] for i in range(0, len(words), 4)]
            samples.append([Member(extension, int(at), int(size), name) for extension, at, size, name in fields])
    except ValueError:
        raise DataError("cannot read the index", got=path, do="convert again") from None
    if first != f"{INDEX_VERSION} {len(samples)}" or lines[-1:] != [""]:
        raise DataError("the index is not whole", got=path, do="convert again")
    return samples


def filtered_index(path: Path, offsets: Set[int]) -> str:
    """The part of an index that reads the images at these offsets (a column of the table), in the tar's order.

    Given to DALI beside the whole tar, it reads nothing else. DALI wants at least one image of each tar it is given.
    """
    kept = [members for members in parse_index(read_text(path), path) if members[0].offset in offsets]
    if len(kept) != len(offsets):
        got = f"{len(offsets)} images and {len(kept)} of them in it"
        raise DataError(f"{path} is not the index of these images", got=got, do="take the table of the same folder")
    return index_text(kept)


def read_members(path: Path) -> Iterator[tuple[Member, bytes]]:
    """Every file in a tar, in order; a tar that ends early or holds anything but plain files is refused."""
    position = 0
    try:
        with open_read(path) as opened, tarfile.open(fileobj=opened, mode="r:") as tar:
            for info in tar:
                if not info.isreg() or "/" in info.name or (file := tar.extractfile(info)) is None:
                    raise DataError(f"{path} holds something else than plain files", got=repr(info.name))
                data = file.read()
                position = info.offset_data + info.size
                yield Member(info.name.partition(".")[2], info.offset_data, info.size, info.name), data
    except tarfile.TarError as error:
        raise DataError("cannot read the tar", got=f"{path}: {error}", do="convert again") from None
    end = position + len(padding(position, BLOCK_BYTES)) + 2 * BLOCK_BYTES
    if status(path).size != end + len(padding(end, tarfile.RECORDSIZE)):
        raise DataError("the tar's size does not fit its content", got=path, do="convert again")
