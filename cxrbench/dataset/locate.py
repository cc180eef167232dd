"""Where each source image lies, so that a worker can read just the ones it needs.

Folders and zips are read where they are. A tar.gz has no random access: its images are converted in one pass into
packs (a data file, and an index that appears only when the data is whole), and cut into shards from there.
"""

import hashlib
import json
import lzma
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path

from cxrbench.dataset.convert import Clock, Converted, Pixels, Target, convert
from cxrbench.dataset.parallel import map_bounded
from cxrbench.dataset.source import (
    DAMAGE,
    SourceImage,
    ZipMember,
    image_name,
    is_image,
    read_archive,
    read_member,
    too_large,
    zip_members,
)
from cxrbench.errors import DataError
from cxrbench.storage import atomic_write, exists, listing, locked, open_read, read_bytes, status, walk

IMAGES_PER_PACK = 512
WHOLE = "whole"  # the file that says an archive was packed to its end


@dataclass(frozen=True, slots=True)
class Place:
    """A file, or a member of a zip, or a stretch of a pack (then already converted, or known to be bad)."""

    path: str
    member: ZipMember | None = None
    offset: int = -1
    size: int = 0
    pixels: Pixels | None = None
    problem: str = ""
    stamp: str = ""  # tells these bytes from others: a file's size and time, a zip's checksum, a pack's digest

    @property
    def is_converted(self) -> bool:
        return self.offset >= 0


def fetch(name: str, place: Place, target: Target, clock: Clock) -> Converted:
    """The converted image, from wherever it is."""
    if place.problem:
        return Converted(name, problem=place.problem)
    try:
        if problem := too_large(size_of(place)):
            return Converted(name, problem=problem)
        with clock("read"):
            data = read_place(place)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        return Converted(name, problem=f"damaged in the zip; got {' '.join(str(error).split())}")
    except (OSError, NotImplementedError, RuntimeError) as error:  # gone, encrypted: no fault of this one image
        where = f"{place.member.name} in {place.path}" if place.member else place.path
        got = f"{where}: {getattr(error, 'strerror', None) or error}"
        do = "is the disk there? run the same command again; what is done is kept"
        raise DataError("cannot read the image", got=got, do=do) from None
    if place.is_converted and digest(data) != place.stamp:
        do = "the scratch store is damaged: remove the data set's folder and run again"
        raise DataError(
            "cannot read what was converted before", got=f"other bytes than were written to {place.path}", do=do
        )
    if place.is_converted:
        return Converted(name, data, place.pixels)
    clock.read_bytes += len(data)
    return convert(name, data, target, clock)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def size_of(place: Place) -> int:
    if place.member:
        return place.member.size
    return place.size if place.is_converted else status(Path(place.path)).size


def read_place(place: Place) -> bytes:
    with open_read(Path(place.path)) as file:
        if place.member:
            return read_member(file, place.member)
        if place.is_converted:
            file.seek(place.offset)
            return file.read(place.size)
        return file.read()


def in_turn(sources: list[Path], part: tuple[int, int]) -> list[Path]:
    """Each part begins elsewhere, so that n of them at once convert n archives before one waits for another."""
    start = len(sources) * (part[0] - 1) // part[1]
    return sources[start:] + sources[:start]


def is_direct(source: Path) -> bool:
    """Can its images be read where they are?"""
    return source.suffix == ".zip" or status(source).kind == "folder"


def find_places(sources: Sequence[Path], pack: Callable[[Path], list[tuple[str, Place]]]) -> dict[str, Place]:
    """Every image's place; `pack` gives those of a tar.gz. The same name twice is refused."""
    places: dict[str, Place] = {}
    origins: dict[str, Path] = {}
    for source in sources:
        found = list(places_in(source)) if is_direct(source) else pack(source)
        if not found:
            raise DataError("no PNG in the archive", got=source)
        for name, place in found:
            if name in places:
                both = f"{origin(origins[name], places[name])} and {origin(source, place)}"
                raise DataError(f"{name} is there twice", got=both, do="give one of them")
            places[name], origins[name] = place, source
    return places


def origin(source: Path, place: Place) -> str:
    return f"{source}:{place.member.name}" if place.member else str(source) if place.is_converted else place.path


def places_in(source: Path) -> Iterator[tuple[str, Place]]:
    if status(source).kind == "folder":
        yield from ((image_name(path.name), Place(str(path), stamp=stamp_of(path))) for path in walk(source, is_image))
        return
    try:
        members = zip_members(source)
    except (*DAMAGE, OSError) as error:
        raise DataError("corrupt archive", got=f"{source}: {error}", do="download it again") from None
    path = str(source)  # one for all
    for member in members:
        yield image_name(member.name), Place(path, member, stamp=f"{member.crc:08x} {member.size}")


def stamp_of(path: Path) -> str:
    try:
        found = status(path)
    except OSError:
        return "gone"
    return "gone" if found.kind == "nothing" else f"{found.size} {found.mtime_ns}"


def convert_bytes(target: Target, image: SourceImage) -> tuple[Converted, Clock]:
    clock = Clock(read_bytes=len(image.data))
    if image.problem:
        return Converted(image.name, problem=image.problem), clock
    return convert(image.name, image.data, target, clock), clock


def scratch_of(archive: Path, work: Path, wanted: Set[str]) -> Path:
    """Another one once the archive changes, so that a mended archive is read again; or once a mended table wants
    other images.
    """
    state = "\n".join([str(archive.resolve()), stamp_of(archive), *sorted(wanted)])
    return work / f"{archive.name}-{digest(state.encode())}"


def pack_once(
    archive: Path,
    folder: Path,
    target: Target,
    workers: int,
    wanted: Set[str],
    report: Callable[[int], None],
    clock: Clock,
) -> None:
    """Whoever comes second waits for the first, or goes on if the first was killed."""
    with locked(folder / "lock", wait=True):
        if not exists(folder / WHOLE):
            for num_images in pack_archive(archive, folder, target, workers, wanted, clock):
                report(num_images)


def pack_archive(
    archive: Path, folder: Path, target: Target, workers: int, wanted: Set[str], clock: Clock
) -> Iterator[int]:
    """One pass over a tar.gz; yields how many images each pack got. What an earlier run packed is not converted again.

    Images that no row wants keep their name, so that they can be counted, and lose their bytes.
    """
    done = len(indexes_in(folder))
    images = (
        image if image.name in wanted else SourceImage(image.name, image.where, b"") for image in read_archive(archive)
    )
    todo = islice(images, done * IMAGES_PER_PACK, None)
    with closing(map_bounded(partial(convert_bytes, target), todo, workers)) as results:
        converted = adding_up(results, clock)
        for first in converted:
            yield write_pack(chain([first], islice(converted, IMAGES_PER_PACK - 1)), folder / f"{done:06d}.json")
            done += 1
    with atomic_write(folder / WHOLE):
        pass


def adding_up(results: Iterable[tuple[Converted, Clock]], clock: Clock) -> Iterator[Converted]:
    for image, spent in results:
        clock.add(spent)
        yield image


def write_pack(images: Iterable[Converted], index: Path) -> int:
    data_file, entries, offset = index.with_suffix(".pack"), [], 0
    with atomic_write(data_file) as file:
        for image in images:
            pixels = asdict(image.pixels) if image.pixels else None
            entries.append([image.name, offset, len(image.data), pixels, image.problem, digest(image.data)])
            file.write(image.data)
            offset += len(image.data)
    with atomic_write(index) as file:
        file.write(json.dumps(entries).encode())
    return len(entries)


def packed_places(folder: Path) -> list[tuple[str, Place]]:
    places = []
    for index in indexes_in(folder):
        pack = str(index.with_suffix(".pack"))
        for name, offset, size, pixels, problem, stamp in json.loads(read_bytes(index)):
            known = Pixels(**pixels) if pixels else None
            places.append((name, Place(pack, None, offset, size, known, problem, stamp)))
    return places


def indexes_in(folder: Path) -> list[Path]:
    return [folder / name for name in listing(folder) if name.endswith(".json")]
