"""Where each source image lies, so that a worker can read just the ones it needs.

Folders and zips are read where they are. A tar.gz has no random access: its images are converted in one pass into
packs (a data file, and an index that appears only when the data is whole), and cut into shards from there.
"""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import cache, partial
from itertools import chain, islice
from pathlib import Path

from cxrbench.dataset.convert import Clock, Converted, Pixels, Target, convert
from cxrbench.dataset.parallel import map_bounded
from cxrbench.dataset.source import SourceImage, image_name, is_image, read_archive, too_large, walk
from cxrbench.errors import DataError
from cxrbench.storage import atomic_write, locked

IMAGES_PER_PACK = 512
WHOLE = "whole"  # the file that says an archive was packed to its end


@dataclass(frozen=True, slots=True)
class Place:
    """A file, or a member of a zip, or a stretch of a pack (then already converted, or known to be bad)."""

    path: str
    member: str = ""
    offset: int = -1
    size: int = 0
    pixels: Pixels | None = None
    problem: str = ""
    stamp: str = ""  # tells these bytes from others: a file's size and time, a zip's checksum, a pack's digest

    @property
    def is_converted(self) -> bool:
        return self.offset >= 0


@cache
def opened_zip(path: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(path)  # once a process: its directory of 112,120 entries takes a second to read


def fetch(name: str, place: Place, target: Target, clock: Clock) -> Converted:
    """The converted image, from wherever it is."""
    if place.problem:
        return Converted(name, problem=place.problem)
    try:
        if problem := too_large(size_of(place)):
            return Converted(name, problem=problem)
        with clock("read"):
            data = read_place(place)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        return Converted(name, problem=f"damaged in the zip; got {' '.join(str(error).split())}")
    except (OSError, NotImplementedError, RuntimeError) as error:  # gone, encrypted: no fault of this one image
        got = f"{' in '.join(filter(None, (place.member, place.path)))}: {getattr(error, 'strerror', None) or error}"
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
        return opened_zip(place.path).getinfo(place.member).file_size
    return place.size if place.is_converted else Path(place.path).stat().st_size


def read_place(place: Place) -> bytes:
    if place.member:
        return opened_zip(place.path).read(place.member)
    with Path(place.path).open("rb") as file:
        if place.is_converted:
            file.seek(place.offset)
            return file.read(place.size)
        return file.read()


def in_turn(sources: list[Path], part: tuple[int, int]) -> list[Path]:
    """Each part begins elsewhere, so that n of them at once convert n archives before one waits for another."""
    start = len(sources) * (part[0] - 1) // part[1]
    return sources[start:] + sources[:start]


def find_places(sources: Sequence[Path], pack: Callable[[Path], list[tuple[str, Place]]]) -> dict[str, Place]:
    """Every image's place; `pack` gives those of a tar.gz. The same name twice is refused."""
    places: dict[str, Place] = {}
    origins: dict[str, str] = {}
    for source in sources:
        found = list(places_in(source)) if source.is_dir() or source.suffix == ".zip" else pack(source)
        if not found:
            raise DataError("no PNG in the archive", got=source)
        for name, place in found:
            origin = f"{source}:{place.member}" if place.member else str(source) if place.is_converted else place.path
            if name in places:
                raise DataError(f"{name} is there twice", got=f"{origins[name]} and {origin}", do="give one of them")
            places[name], origins[name] = place, origin
    return places


def places_in(source: Path) -> Iterator[tuple[str, Place]]:
    if source.is_dir():
        yield from ((image_name(path.name), Place(str(path), stamp=stamp_of(path))) for path in walk(source, is_image))
        return
    try:
        infos = [info for info in opened_zip(str(source)).infolist() if not info.is_dir() and is_image(info.filename)]
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError("corrupt archive", got=f"{source}: {error}", do="download it again") from None
    for info in infos:
        yield image_name(info.filename), Place(str(source), info.filename, stamp=f"{info.CRC:08x} {info.file_size}")


def stamp_of(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "gone"
    return f"{status.st_size} {status.st_mtime_ns}"


def convert_bytes(target: Target, image: SourceImage) -> tuple[Converted, Clock]:
    clock = Clock(read_bytes=len(image.data))
    if image.problem:
        return Converted(image.name, problem=image.problem), clock
    return convert(image.name, image.data, target, clock), clock


def scratch_of(archive: Path, work: Path) -> Path:
    """Another one once the archive changes, so that a mended archive is read again."""
    status = archive.stat()
    state = f"{archive.resolve()} {status.st_size} {status.st_mtime_ns}"
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
        if not (folder / WHOLE).exists():
            for num_images in pack_archive(archive, folder, target, workers, wanted, clock):
                report(num_images)


def pack_archive(
    archive: Path, folder: Path, target: Target, workers: int, wanted: Set[str], clock: Clock
) -> Iterator[int]:
    """One pass over a tar.gz; yields how many images each pack got. What an earlier run packed is not converted again.

    Images that no row wants keep their name, so that they can be counted, and lose their bytes.
    """
    done = len(list(folder.glob("*.json")))
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
    for index in sorted(folder.glob("*.json")):
        for name, offset, size, pixels, problem, stamp in json.loads(index.read_bytes()):
            known = Pixels(**pixels) if pixels else None
            places.append((name, Place(str(index.with_suffix(".pack")), "", offset, size, known, problem, stamp)))
    return places
