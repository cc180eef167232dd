"""Where each source image lies, so that a worker can read just the ones it needs.

Folders and zips are read where they are. A tar.gz has no random access: its images are converted in one pass into
packs (a data file, and an index that appears only when the data is whole), and cut into shards from there.
"""

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import asdict, dataclass
from functools import cache, partial
from itertools import chain, islice
from pathlib import Path, PurePosixPath

from cxrbench.dataset.convert import Clock, Converted, Pixels, Target, convert
from cxrbench.dataset.parallel import map_bounded
from cxrbench.dataset.source import SourceImage, find_sources, is_image, read_archive, walk
from cxrbench.errors import DataError
from cxrbench.storage import atomic_write

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
        with clock("read"):
            data = read_place(place)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError("cannot read the image", got=f"{place.path} {place.member}: {error}") from None
    clock.read_bytes += len(data)
    if place.is_converted:
        return Converted(name, data, place.pixels)
    return convert(name, data, target, clock)


def read_place(place: Place) -> bytes:
    if place.member:
        return opened_zip(place.path).read(place.member)
    with Path(place.path).open("rb") as file:
        if place.is_converted:
            file.seek(place.offset)
            return file.read(place.size)
        return file.read()


def find_places(paths: Sequence[Path], prepare: Callable[[Path], dict[str, Place]]) -> dict[str, Place]:
    """Every image's place; `prepare` gives those of a tar.gz. The same name twice is refused."""
    places: dict[str, Place] = {}
    for source in find_sources(paths):
        found = list(places_in(source) if source.is_dir() or source.suffix == ".zip" else prepare(source).items())
        if not found:
            raise DataError("no PNG in the archive", got=source)
        for name, place in found:
            if name in places:
                where = f"{places[name].path} and {place.path}"
                raise DataError(f"{name} is there twice", got=where, do="give one of them")
            places[name] = place
    return places


def places_in(source: Path) -> Iterator[tuple[str, Place]]:
    if source.is_dir():
        yield from ((path.name, Place(str(path))) for path in walk(source, is_image))
        return
    try:
        names = [info.filename for info in opened_zip(str(source)).infolist() if is_image(info.filename)]
    except (zipfile.BadZipFile, OSError) as error:
        raise DataError("corrupt archive", got=f"{source}: {error}", do="download it again") from None
    yield from ((PurePosixPath(name).name, Place(str(source), name)) for name in names)


def convert_bytes(target: Target, image: SourceImage) -> Converted:
    return convert(image.name, image.data, target, Clock())


def pack_archive(archive: Path, folder: Path, target: Target, workers: int, wanted: Set[str]) -> Iterator[int]:
    """One pass over a tar.gz; yields how many images each pack got. What an earlier run packed is not converted again.

    Images that no row wants keep their name, so that they can be counted, and lose their bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = len(list(folder.glob("*.json")))
    images = (
        image if image.name in wanted else SourceImage(image.name, image.where, b"") for image in read_archive(archive)
    )
    converted = map_bounded(partial(convert_bytes, target), islice(images, done * IMAGES_PER_PACK, None), workers)
    for first in converted:
        yield write_pack(chain([first], islice(converted, IMAGES_PER_PACK - 1)), folder / f"{done:06d}.json")
        done += 1
    with atomic_write(folder / WHOLE):
        pass


def write_pack(images: Iterable[Converted], index: Path) -> int:
    data_file, entries, offset = index.with_suffix(".pack"), [], 0
    with atomic_write(data_file) as file:
        for image in images:
            pixels = asdict(image.pixels) if image.pixels else None
            entries.append([image.name, offset, len(image.data), pixels, image.problem])
            file.write(image.data)
            offset += len(image.data)
    with atomic_write(index) as file:
        file.write(json.dumps(entries).encode())
    return len(entries)


def packed_places(folder: Path) -> dict[str, Place]:
    places = {}
    for index in sorted(folder.glob("*.json")):
        for name, offset, size, pixels, problem in json.loads(index.read_bytes()):
            known = Pixels(**pixels) if pixels else None
            places[name] = Place(str(index.with_suffix(".pack")), "", offset, size, known, problem)
    return places
