"""One image from the source's bytes to what a shard stores; light to import, since every worker process does."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from cxrbench.dataset.encodings import encoding
from cxrbench.dataset.gray import Header, decode_gray, png_header
from cxrbench.errors import DataError

MAX_ELONGATION = 8  # long side over short side; what is more is no radiograph, and grows large when resized
STAGES = ("read", "decode", "resize", "encode", "write")


@dataclass(frozen=True, slots=True)
class Target:
    """What is stored: an encoding, and the short side in pixels (0: the source's size)."""

    encoding: str
    size_px: int


@dataclass(frozen=True, slots=True)
class Pixels:
    """What the table says of a converted image. The hash is of the gray pixels, before a lossy encoding."""

    sha256: str
    width: int
    height: int
    source_width: int
    source_height: int
    kept: bool  # the source's own bytes


@dataclass(frozen=True, slots=True)
class Converted:
    name: str
    data: bytes = b""
    pixels: Pixels | None = None
    problem: str = ""  # why the image is bad; then there is nothing else


@dataclass(slots=True)
class Clock:
    """Seconds spent in each stage and bytes read, added up over images."""

    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    read_bytes: int = 0

    def add(self, other: "Clock") -> None:
        for stage, spent in other.seconds.items():
            self.seconds[stage] += spent
        self.read_bytes += other.read_bytes

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] += time.perf_counter() - start


def convert(name: str, data: bytes, target: Target, clock: Clock) -> Converted:
    """A bad image comes back with its problem, so that one run finds them all."""
    try:
        with clock("decode"):
            refuse_elongated(header := png_header(data))
            source = decode_gray(data)
    except DataError as error:
        return Converted(name, problem=str(error))
    with clock("resize"):
        gray = resize(source, target.size_px)
        sha256 = hashlib.sha256(gray.tobytes()).hexdigest()
    # An orientation would turn the image in some readers and not in others.
    kept = target == Target("png", 0) and header.is_plain and b"eXIf" not in data
    try:
        with clock("encode"):
            stored = data if kept else encoding(target.encoding).encode(gray)
    except Exception as error:  # noqa: BLE001 - each encoder raises its own
        return Converted(name, problem=f"cannot be stored as {target.encoding}; got {error}")
    height, width = gray.shape
    return Converted(name, stored, Pixels(sha256, width, height, source.shape[1], source.shape[0], kept))


def refuse_elongated(header: Header) -> None:
    short, long = sorted((header.width, header.height))
    if long > MAX_ELONGATION * short:
        sides = f"long side of {long} more than {MAX_ELONGATION} times the short side of {short}"
        raise DataError("bad PNG", got=f"{header.width}x{header.height} pixels, the {sides}")


def resize(gray: np.ndarray, size_px: int) -> np.ndarray:
    """The short side to `size_px`, as torchvision's Resize does with a PIL image: to the bit, so that doing it early
    changes no result.
    """
    height, width = gray.shape
    if not size_px or min(height, width) == size_px:
        return gray
    if width <= height:
        new_width, new_height = size_px, int(size_px * height / width)
    else:
        new_width, new_height = int(size_px * width / height), size_px
    from cxrbench.dataset.quarter import fits, quarter  # which compiles

    if fits(height, width, new_height, new_width):
        return quarter(gray)
    return np.asarray(Image.fromarray(gray).resize((new_width, new_height), Image.Resampling.BILINEAR))


def shrink(gray: np.ndarray, size_px: int) -> np.ndarray:
    """A larger image at that short side, exactly as converting it to that size would have made it; 0: as it is."""
    return resize(gray, size_px) if 0 < size_px < min(gray.shape) else gray


def shrunk_shape(height: int, width: int, size_px: int) -> tuple[int, int]:
    """What `shrink` makes of it."""
    short = min(height, width)
    return (size_px * height // short, size_px * width // short) if 0 < size_px < short else (height, width)
