"""Images to measure with: phantoms, or some of a data set's own, as PNGs; and shards of them, of any kind."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cxrbench.dataset import manifest, shard
from cxrbench.dataset.opened import Opened
from cxrbench.dataset.phantom.layout import DATA_ENTRY, DATA_ENTRY_HEADER
from cxrbench.dataset.phantom.plan import make_plan
from cxrbench.dataset.phantom.write import IMAGES, write_data_set
from cxrbench.dataset.pixels import each_pixels, stored_images
from cxrbench.dataset.png import encode_gray
from cxrbench.dataset.table import read_table
from cxrbench.errors import DataError
from cxrbench.labels import NIH14, NO_FINDING
from cxrbench.storage import atomic_folder, atomic_write, exists, make_folder, sha256_of

PART = "train"  # where all images of a sample are
SPLIT = "split.csv"
IMAGES_PER_SHARD = 128


@dataclass(frozen=True, slots=True)
class Source:
    """PNGs and their labels, as NIH has them, and a split with all of them in one part."""

    folder: Path

    @property
    def images(self) -> Path:
        return self.folder / IMAGES

    @property
    def labels(self) -> Path:
        return self.folder / DATA_ENTRY

    @property
    def split(self) -> Path:
        return self.folder / SPLIT


@contextmanager
def scratch(work: Path | None) -> Iterator[Path]:
    """A folder: a temporary one, or the one that is named, which stays."""
    with nullcontext(work) if work else tempfile.TemporaryDirectory(prefix="cxrbench-") as folder:
        yield make_folder(Path(folder))


def phantoms(work: Path, num: int, size_px: int, workers: int) -> Source:
    """Drawn, unless they lie there."""
    source = Source(work / f"phantoms-{num}-{size_px}")
    if not exists(source.labels):
        write_data_set(
            make_plan(num, 0, 0.1), (), source.folder, size_px=size_px, workers=workers, progress=lambda _: None
        )
    split_of(source)
    return source


def sample_of(data: Opened, num: int, work: Path) -> Source:
    """So many of its images, evenly spread over its shards, as PNGs of the pixels that the shards hold."""
    source = Source(work / f"sample-{data.sha256[:16]}-{num}")
    if exists(source.folder):
        return source
    last = len(data.samples) - 1
    samples = data.samples.iloc[np.unique(np.linspace(0, last, min(num, last + 1)).astype(int))]
    with atomic_folder(source.folder) as folder:
        make_folder(folder / IMAGES)
        stored = stored_images(samples)
        for image, pixels in zip(stored, each_pixels(data.folder, data.manifest["encoding"], stored), strict=True):
            (folder / IMAGES / image.name).write_bytes(encode_gray(pixels))
        lines = [DATA_ENTRY_HEADER]
        for row in samples.to_dict("records"):
            found = "|".join(name for name in NIH14 if row[name]) or NO_FINDING
            lines.append(f"{row['name']},{found},,{row['patient']},,,,{row['width']},{row['height']},,")
        (folder / DATA_ENTRY).write_text("\n".join(lines) + "\n")
        split_of(Source(folder))
    return source


def split_of(source: Source) -> Path:
    return write_split(read_table(source.labels)["name"], source.split)


def write_split(names: Iterable[str], path: Path) -> Path:
    """All of these in one part."""
    with atomic_write(path) as file:
        file.write("".join(["name,part\n", *(f"{name},{PART}\n" for name in names)]).encode())
    return path


def convert(source: Source, out: Path, encoding: str, size_px: int, workers: int) -> Path:
    """What `cxrbench shard` makes of them, unless it lies there; 0 keeps the source's size."""
    if exists(out / manifest.MANIFEST):
        return out
    table, options = read_table(source.labels), shard.Options(encoding, size_px, 0, IMAGES_PER_SHARD, False)
    nothing = lambda _: None  # noqa: E731
    job = shard.prepare(table, [source.images], out, options, sha256_of(source.labels), workers, nothing)
    shard.convert_shards(job, workers, nothing)
    if bad := shard.bad_images(job):
        do = "choose another encoding, or repair them"
        raise DataError("not every image can be stored so", got=f"{len(bad)}, such as {': '.join(bad[0])}", do=do)
    shard.finalise(job)
    return out


def shards_of(source: Source, work: Path, encoding: str, size_px: int) -> Path:
    """Where they belong: those of other images lie elsewhere."""
    return work / f"{source.folder.name}-{encoding}-{size_px or 'source'}"
