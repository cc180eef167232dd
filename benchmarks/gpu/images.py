"""Gray images like chest X-rays in size on disk, and their encoded forms, on a machine that may lack the encoders.

`python -m benchmarks.gpu.images` writes the HTJ2K fixture again; that takes imagecodecs.
"""

import importlib.util
import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
FIXTURE = Path(__file__).parent / "fixtures" / "htj2k-256.j2c"
FIXTURE_SEED = 0
FIXTURE_PX = 256
NOISE = 1.2  # of 255; brings a lossless 1024x1024 image to about 0.4 MB, as NIH's are
JPEG_QUALITY = 95
# Marker segments of a JPEG 2000 codestream, ISO/IEC 15444-1 Annex A: where the numbers lie that `tiled` changes.
START_OF_TILE = b"\xff\x90"
SIZE_OFFSET = 8
TILE_INDEX_OFFSET = 4
END_BYTES = 2


def synthetic(size_px: int, seed: int = 0) -> Image:
    rows, columns = np.mgrid[0:size_px, 0:size_px] / size_px
    smooth = 110 + 60 * np.sin(5 * columns + 1) * np.cos(4 * rows) + 20 * np.sin(40 * columns * rows)
    # The old generator, whose numbers no version of numpy changes: the fixture must stay this image.
    noise = np.random.RandomState(seed).normal(0, NOISE, smooth.shape)
    image: Image = np.clip(np.rint(smooth + noise), 0, 255).astype(np.uint8)
    return image


def encoded(image_format: str, size_px: int, seed: int) -> tuple[Image, bytes, str]:
    """The image, its bytes, and what made them."""
    image = synthetic(size_px, seed)
    if image_format == "htj2k":
        return encoded_htj2k(image)
    options: dict[str, dict[str, Any]] = {
        "png": {"format": "PNG"},
        "jpeg": {"format": "JPEG", "quality": JPEG_QUALITY},
        "jpeg2000": {"format": "JPEG2000", "irreversible": False, "no_jp2": True},
    }
    from PIL import Image as Pillow

    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, **options[image_format])
    return image, buffer.getvalue(), "Pillow"


def encoded_htj2k(image: Image) -> tuple[Image, bytes, str]:
    """With imagecodecs the image itself; without it the fixture, as often as it takes to fill the size."""
    if importlib.util.find_spec("imagecodecs") is not None:
        import imagecodecs

        return image, bytes(imagecodecs.htj2k_encode(image, reversible=True)), "imagecodecs"
    times = image.shape[0] // FIXTURE_PX
    pixels = np.tile(synthetic(FIXTURE_PX, FIXTURE_SEED), (times, times))
    return pixels, tiled(FIXTURE.read_bytes(), times), f"fixture, {times * times} tiles"


def tiled(codestream: bytes, times: int) -> bytes:
    """`times` by `times` copies of a one-tile JPEG 2000 image as one of many tiles, without encoding anything.

    Tiles are coded independently, and a side that is a power of two keeps every code block where it was in its tile.
    """
    start = codestream.index(START_OF_TILE)
    header, tile = bytearray(codestream[:start]), bytearray(codestream[start:-END_BYTES])
    width_px, height_px = struct.unpack_from(">II", header, SIZE_OFFSET)
    struct.pack_into(">II", header, SIZE_OFFSET, width_px * times, height_px * times)
    parts = [bytes(header)]
    for index in range(times * times):
        struct.pack_into(">H", tile, TILE_INDEX_OFFSET, index)
        parts.append(bytes(tile))
    return b"".join(parts) + codestream[-END_BYTES:]


def write_fixture() -> None:
    import imagecodecs

    image = synthetic(FIXTURE_PX, FIXTURE_SEED)
    FIXTURE.parent.mkdir(exist_ok=True)
    FIXTURE.write_bytes(bytes(imagecodecs.htj2k_encode(image, reversible=True)))


if __name__ == "__main__":
    write_fixture()
