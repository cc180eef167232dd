"""Filters undone by vectors: the same pixels as Pillow's for every shape, and no byte outside the arrays touched."""

import ctypes
import io
import mmap
import multiprocessing
import struct
import subprocess
import sys
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxrbench.dataset import jit
from cxrbench.dataset.unfilter import LANES, SPARE, undo_filters, unfiltered

MIXED = -1
WIDTHS = (*range(1, 18), 23, 24, 25, 31, 32, 33, 34, 39, 40, 41, 63, 64, 65, 100, 257)
HEIGHTS = (1, 2, 3, 8, 31, 32, 33, 34, 63, 64, 65, 70, 97)
GUARDED = [(height, width) for height in (32, 33, 63, 64) for width in (1, 2, 7, 8, 9, 31, 32, 33, 34, 42, 64, 100)]


def filtered(height: int, width: int, kind: int, seed: int = 0) -> np.ndarray:
    """Rows with a filter byte each; whatever bytes follow it, they are some image."""
    rng = np.random.default_rng((height, width, kind + 1, seed))
    some = (
        rng.integers(0, 256, (height, width + 1)),
        rng.choice([0, 1, 127, 128, 254, 255], (height, width + 1)),  # where sums wrap and Paeth's distances tie
        rng.integers(-2, 3, (height, width + 1)),
    )
    rows = some[seed % 3].astype(np.uint8)
    rows[:, 0] = rng.integers(0, 5, height) if kind == MIXED else kind
    return rows


def with_spare(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([rows.reshape(-1), np.full(SPARE, 255, np.uint8)])


def by_pillow(rows: np.ndarray) -> np.ndarray:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", rows.shape[1] - 1, len(rows), 8, 0, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows.tobytes(), 1))
    return np.asarray(Image.open(io.BytesIO(png + chunk(b"IEND", b""))))


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4, MIXED])
def test_every_shape_and_filter_gives_the_pixels_of_pillow(kind: int):
    for seed, (height, width) in enumerate((height, width) for height in HEIGHTS for width in WIDTHS):
        rows = filtered(height, width, kind, seed)
        np.testing.assert_array_equal(unfiltered(with_spare(rows), height, width), by_pillow(rows))


@pytest.mark.parametrize("seed", range(3))
def test_a_large_image_gives_the_pixels_of_pillow(seed: int):
    rows = filtered(1021, 1277, MIXED, seed)
    np.testing.assert_array_equal(unfiltered(with_spare(rows), 1021, 1277), by_pillow(rows))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (31, 5), (32, 40), (70, 9)])
def test_an_unknown_filter_is_found_in_any_row(height: int, width: int):
    for row in range(height):
        for kind in (5, 128, 255):
            rows = filtered(height, width, MIXED)
            rows[row, 0] = kind
            assert unfiltered(with_spare(rows), height, width) is None


@pytest.mark.parametrize(
    ("size", "height", "width"),
    [(32 * 11 + SPARE - 1, 32, 10), (0, 1, 1), (100, 0, 10), (100, 10, 0), (100, -1, 10), (100, 10, -1)],
)
def test_rows_that_do_not_fit_are_refused(size: int, height: int, width: int):
    with pytest.raises(ValueError, match="expected"):
        unfiltered(np.zeros(size, np.uint8), height, width)


def guarded(content: np.ndarray, at_end: bool) -> np.ndarray:
    """A copy that ends, or begins, at a page of memory whose touch kills the process."""
    page = mmap.PAGESIZE
    inner = -(-content.size // page) * page
    memory = mmap.mmap(-1, inner + 2 * page)
    whole = np.frombuffer(memory, np.uint8)
    protect: Any = ctypes.CDLL(None).mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    for offset in (0, page + inner):
        assert protect(whole.ctypes.data + offset, page, 0) == 0
    start = page + inner - content.size if at_end else page
    array = whole[start : start + content.size]
    array[:] = content
    return array


def undo_between_guards() -> None:
    for height, width in GUARDED:
        rows = filtered(height, width, MIXED)
        for at_end in (False, True):
            source = guarded(with_spare(rows), at_end)
            pixels = guarded(np.zeros(height * width, np.uint8), at_end)
            assert undo_filters(source, pixels, height, width)
            np.testing.assert_array_equal(pixels.reshape(height, width), by_pillow(rows))


def undo_with_too_little_behind() -> None:
    height, width = 32, 42
    source = guarded(with_spare(filtered(height, width, MIXED))[:-1], at_end=True)
    undo_filters(source, np.empty(height * width, np.uint8), height, width)


def exit_code(target: Any) -> int | None:
    child = multiprocessing.get_context("spawn").Process(target=target)
    child.start()
    child.join(120)
    return child.exitcode


def test_no_byte_outside_rows_and_pixels_is_touched():
    assert exit_code(undo_between_guards) == 0


def test_all_spare_bytes_are_needed_and_the_guards_guard():
    code = exit_code(undo_with_too_little_behind)
    assert code is not None
    assert code < 0  # killed by a signal


def test_bytes_behind_the_rows_change_nothing_and_pixels_stay_in_place():
    for height, width in GUARDED:
        rows = with_spare(filtered(height, width, MIXED))
        found = []
        for rest in (0, 77):
            rows[-SPARE:] = rest
            frame = np.full(height * width + 128, 99, np.uint8)
            assert undo_filters(rows, frame[64:-64], height, width)
            assert (frame[:64] == 99).all()
            assert (frame[-64:] == 99).all()
            found.append(frame)
        np.testing.assert_array_equal(*found)


def test_it_runs_without_the_gil():
    assert undo_filters.targetoptions["nogil"]  # type: ignore[attr-defined]


def test_code_that_cannot_be_kept_is_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch):
    asked = []

    def njit(*_: object, cache: bool = False, **__: object) -> Any:
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(jit, "njit", njit)
    assert jit.compiled(None)(undo_with_too_little_behind) is undo_with_too_little_behind
    assert asked == [True, False]


def test_numba_is_imported_only_when_pixels_are_wanted():
    code = "import sys, cxrbench.cli, cxrbench.dataset.encodings; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_low_image_is_filled_up_to_the_lanes():
    rows = filtered(LANES - 1, 50, MIXED)
    found = unfiltered(with_spare(rows), LANES - 1, 50)
    assert found is not None
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, by_pillow(rows))
