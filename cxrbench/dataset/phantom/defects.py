"""What goes wrong with real files, planted on purpose and listed, so that whoever reads them can be tested.

Only images with neither sign nor label are damaged: once the damaged ones are set aside, every finding still has its
positives in both official parts. A copy takes over the labels of what it shows, so the labels stay as noisy as planned.
"""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, PngImagePlugin

from cxrbench.dataset.phantom.plan import Plan, stream
from cxrbench.dataset.png import encode_gray
from cxrbench.errors import UsageError

MIN_IMAGES = 100
IMAGES_PER_KIND = 400  # one of each kind per so many images: 3% in all
PNG_SIGNATURE_BYTES = 8
NOT_A_PNG = b"<html><head><title>503</title></head><body>The server is busy, try again later.</body></html>\n"


@dataclass(frozen=True)
class Defect:
    kind: str
    name: str
    of: str | None = None  # the image that a duplicate shows


@dataclass(frozen=True)
class Kind:
    what: str
    encode: Callable[[np.ndarray], bytes] | None  # pixels to the file's bytes; None: there is no file
    is_copy: bool = False
    has_row: bool = True


def truncated(pixels: np.ndarray) -> bytes:
    data = encode_gray(pixels)
    return data[: len(data) // 2]


def bad_crc(pixels: np.ndarray) -> bytes:
    data = bytearray(encode_gray(pixels))
    start = PNG_SIGNATURE_BYTES
    while data[start + 4 : start + 8] != b"IDAT":
        start += 12 + struct.unpack_from(">I", data, start)[0]
    end_of_data = start + 8 + struct.unpack_from(">I", data, start)[0]
    data[end_of_data] ^= 0xFF
    return bytes(data)


def by_pillow(image: Image.Image, comment: str | None = None) -> bytes:
    info = PngImagePlugin.PngInfo()
    if comment:
        info.add_text("Comment", comment)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1, pnginfo=info)
    return buffer.getvalue()


def encoded_again(pixels: np.ndarray) -> bytes:
    return by_pillow(Image.fromarray(pixels), comment="encoded again")  # so that no encoder's bytes are the same


def wrongly_sized(pixels: np.ndarray) -> bytes:
    return encode_gray(np.ascontiguousarray(pixels[: len(pixels) * 3 // 4]))


KINDS: dict[str, Kind] = {
    "truncated": Kind("the second half of the file is missing", truncated),
    "empty": Kind("a file of no bytes", lambda pixels: b""),  # noqa: ARG005 - all kinds have one signature
    "bad_crc": Kind("the pixel data's checksum is wrong", bad_crc),
    "text": Kind("an error page saved as .png", lambda pixels: NOT_A_PNG),  # noqa: ARG005
    "rgba": Kind("RGBA, as 519 of NIH's images", lambda pixels: by_pillow(Image.fromarray(pixels).convert("RGBA"))),
    "palette": Kind("gray as a palette", lambda pixels: by_pillow(Image.fromarray(pixels).convert("P"))),
    "gray16": Kind("16 bits a pixel", lambda pixels: by_pillow(Image.fromarray(pixels.astype(np.uint16) * 257))),
    "wrong_size": Kind("three quarters as high as the others", wrongly_sized),
    "byte_duplicate": Kind("the file of another image under this name", encode_gray, is_copy=True),
    "pixel_duplicate": Kind("the pixels of another image in other bytes", encoded_again, is_copy=True),
    "image_missing": Kind("a row without an image", None),
    "row_missing": Kind("an image that neither the table nor a list names", encode_gray, has_row=False),
}


def plant(plan: Plan) -> tuple[Plan, tuple[Defect, ...]]:
    """The plan with the labels of copies changed, and what is wrong where; the files are damaged when written."""
    defects = choose(plan)
    original = {visit.name: visit for visit in plan.visits}
    shown = {defect.name: original[defect.of] for defect in defects if defect.of}
    visits = (
        replace(visit, signs=shown[visit.name].signs, labels=shown[visit.name].labels) if visit.name in shown else visit
        for visit in plan.visits
    )
    return replace(plan, visits=tuple(visits)), defects


def choose(plan: Plan) -> tuple[Defect, ...]:
    """At least one of each kind, from the seed. Each first copy shows a test image under a train_val name."""
    num_images = len(plan.visits)
    if num_images < MIN_IMAGES:
        raise UsageError("too few images for --defects", got=num_images, allowed=f"at least {MIN_IMAGES}")
    rng = stream(plan.seed, "defects")
    well = ~(plan.signs | plan.labels).any(axis=1)
    names = np.array([visit.name for visit in plan.visits])
    num_each = max(1, num_images // IMAGES_PER_KIND)
    num_copies = num_each * sum(kind.is_copy for kind in KINDS.values())
    train_val = rng.permutation(names[well & ~plan.is_test])
    others = rng.permutation(np.append(train_val[num_copies:], names[well & plan.is_test]))
    free = {True: iter(train_val[:num_copies].tolist()), False: iter(others.tolist())}  # by: is it a copy?
    sources = [iter(rng.permutation(names[~well & part]).tolist()) for part in (plan.is_test, ~plan.is_test)]
    return tuple(
        Defect(name, next(free[kind.is_copy]), next(sources[nth % 2]) if kind.is_copy else None)
        for name, kind in KINDS.items()
        for nth in range(num_each)
    )
