"""PNG's filters undone for 8-bit gray, 32 rows at once: this is half of what it costs to read an image of NIH.

Each row of a PNG holds what its pixels differ from a prediction by, which one of five filters makes of the neighbours:

    c b
    a x    None: 0    Sub: a    Up: b    Average: (a + b) // 2    Paeth: whichever of a, b, c is nearest to a + b - c

So a pixel waits for the one at its left, and the processor's vectors lie idle. But the row below can follow one pixel
behind, and the next row one more: a wavefront. A vector holds one pixel of each of 32 rows, lane r in column t - r at
step t:

    . . . . x     lane 0 at column t; the row above it is finished
    . . . x       lane 1 at column t - 1: its b is what lane 0 found a step ago, its c what was b then
    . . x         and so on: b is the last result moved on by a lane, c the last b, a the last result

Every lane computes every filter, and masks keep its row's. Lanes whose row has not begun or is over compute rubbish,
which nothing reads. Eight steps run in registers; before and after them blocks of 8x8 bytes are transposed, so that
memory is read and written along rows.

Numba has no vectors: the two inner pieces are in LLVM's language, for any processor. They check no bounds; `unfiltered`
does, and is the only way in. Importing this module imports Numba (0.4 s) and compiles (4 s, once on a machine: the code
is kept in __pycache__, or in the user's cache where that cannot be written), so it is imported when pixels are wanted.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from cxrbench.dataset.jit import compiled

Bytes8 = npt.NDArray[np.uint8]
Int16s = npt.NDArray[np.int16]

BUFFER = types.uint8[::1]
LANES = 32  # rows at once
BLOCK = 8  # steps at once, and the side of the blocks that are transposed
SPARE = BLOCK - 1  # bytes that must follow the rows, since the last block reads as many beyond them
LAST_FILTER = 4
I8, I16, I32, I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))


def unfiltered(rows: Bytes8, height: int, width: int) -> Bytes8 | None:
    """uint8 [height, width] of rows with a filter byte each, and `SPARE` bytes; None for a filter that PNG lacks.

    Other threads run meanwhile.
    """
    num_bytes = height * (width + 1)
    if rows.ndim != 1 or min(height, width) < 1 or len(rows) < num_bytes + SPARE:
        raise ValueError(f"expected {height} rows of 1 + {width} bytes and {SPARE} more; got {rows.shape}")
    if height < LANES:
        filled = np.zeros(LANES * (width + 1) + SPARE, np.uint8)
        filled[:num_bytes] = rows[:num_bytes]
        found = unfiltered(filled, LANES, width)
        return None if found is None else found[:height]
    pixels = np.empty((height, width), np.uint8)
    return pixels if undo_filters(rows, pixels.reshape(-1), height, width) else None


def pointer(builder: Any, data: Any, index: Any, kind: Any) -> Any:
    """To a value of `kind` that begins at data[index], counted in bytes."""
    return builder.bitcast(builder.gep(data, [index]), kind.as_pointer())


def data_of(context: Any, builder: Any, signature: Any, args: Any, position: int) -> Any:
    array = context.make_array(signature.args[position])(context, builder, args[position])
    return builder.bitcast(array.data, I8.as_pointer())


def shuffled(builder: Any, one: Any, other: Any, indices: list[int]) -> Any:
    mask = ir.Constant(ir.VectorType(I32, len(indices)), [ir.Constant(I32, index) for index in indices])
    return builder.shuffle_vector(one, other, mask)


@intrinsic
def transpose(_typing: Any, source: Any, p: Any, step: Any, target: Any, q: Any, target_step: Any) -> Any:  # noqa: ARG001
    """The 8x8 bytes at source[p + k * step] become those at target[q + k * target_step]. Checks no bounds."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        def row(position: int, k: int, kind: Any) -> Any:
            index = builder.add(args[position + 1], builder.mul(args[position + 2], I64(k)))
            return pointer(builder, data_of(context, builder, signature, args, position), index, kind)

        rows = [builder.load(row(0, k, ir.VectorType(I8, BLOCK)), align=1) for k in range(BLOCK)]
        # To lay the second half of the 64 bytes between those of the first moves the highest bit of each byte's place
        # to the end. Three times that, and the bits of the column stand before those of the row.
        v = [shuffled(builder, rows[k], rows[k + 4], [i // 2 + 8 * (i % 2) for i in range(16)]) for k in range(4)]
        for _ in range(2):
            v = [
                shuffled(builder, v[k], v[k + 2], [half + i // 2 + 16 * (i % 2) for i in range(16)])
                for k in (0, 1)
                for half in (0, 8)
            ]
        for k in range(BLOCK):
            two_rows = builder.bitcast(v[k // 2], ir.VectorType(I64, 2))
            builder.store(builder.extract_element(two_rows, I32(k % 2)), row(3, k, I64), align=1)
        return context.get_dummy_value()

    return types.void(source, types.intp, types.intp, target, types.intp, types.intp), generate


@intrinsic
def eight_steps(_typing: Any, block: Any, keep: Any, above: Any, x: Any, masks: Any, state: Any) -> Any:  # noqa: ARG001
    """block[step, lane] from filtered to real, in place. Checks no bounds.

    above[x + step] is what lane 0 finds above its next pixel; masks are Sub's to Paeth's; state is a, b and c.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        v8, v16 = ir.VectorType(I8, LANES), ir.VectorType(I16, LANES)  # 16 bits hold what Paeth needs
        block, keep, above, masks, state = (data_of(context, builder, signature, args, k) for k in (0, 1, 2, 4, 5))

        def at(data: Any, row: int, kind: Any) -> Any:
            return pointer(builder, data, I64(row * LANES * kind.element.width // 8), kind)

        def load(data: Any, row: int, kind: Any = v16) -> Any:
            return builder.load(at(data, row, kind), align=1)

        def all_lanes(value: int) -> Any:
            return v16([value] * LANES)

        def paeth(a: Any, b: Any, c: Any) -> Any:
            """With low and high of a and b: high if 3c - a - b <= low, low if it is >= high, else c."""
            threshold = builder.sub(builder.sub(builder.mul(c, all_lanes(3)), b), a)
            less = builder.icmp_signed("<", a, b)
            low, high = builder.select(less, a, b), builder.select(less, b, a)
            nearest = builder.select(builder.icmp_signed("<=", high, threshold), low, c)
            return builder.select(builder.icmp_signed("<=", threshold, low), high, nearest)

        sub, up, average, paeths = (load(masks, row) for row in range(4))
        a, b, c = (load(state, row) for row in range(3))
        for step in range(BLOCK):
            mean = builder.lshr(builder.add(a, b), all_lanes(1))
            found = builder.zext(load(block, step, v8), v16)
            for predicted, mask in ((a, sub), (b, up), (mean, average), (paeth(a, b, c), paeths)):
                found = builder.add(found, builder.and_(predicted, mask))
            a, c = builder.and_(found, load(keep, step)), b
            builder.store(builder.trunc(a, v8), at(block, step, v8), align=1)
            next_above = builder.zext(builder.load(pointer(builder, above, builder.add(args[3], I64(step)), I8)), I16)
            moved_in = builder.insert_element(ir.Constant(v16, ir.Undefined), next_above, I32(LANES - 1))
            b = shuffled(builder, moved_in, a, list(range(LANES - 1, 2 * LANES - 1)))
        for row, value in enumerate((a, b, c)):
            builder.store(value, at(state, row, v16), align=1)
        return context.get_dummy_value()

    return types.void(block, keep, above, types.intp, masks, state), generate


@njit()
def mask_filters(rows: Bytes8, first: int, width: int) -> Int16s:
    masks = np.zeros((LAST_FILTER, LANES), np.int16)
    for lane in range(LANES):
        chosen = rows[(first + lane) * (width + 1)]
        if chosen > 0:
            masks[chosen - 1, lane] = -1
    return masks


@njit()
def zero_left_of_rows(keep: Int16s, t: int) -> None:
    """PNG sees zeros left of the image, where the lane that begins in the next step is now."""
    keep[:] = 255
    for step in range(BLOCK):
        if t + step + 1 < LANES:
            keep[step, t + step + 1] = 0


@njit()
def store_edge(block: Bytes8, lane: int, pixels: Bytes8, row: int, column: int, width: int) -> None:
    """As `transpose` would store, but only what lies within the image."""
    for k in range(BLOCK):
        for step in range(BLOCK):  # a range cut to fit would become vector code, at half the speed
            if 0 <= column - k + step < width:
                pixels[(row + k) * width + column - k + step] = block[step, lane + k]


@njit()
def wavefront(rows: Bytes8, pixels: Bytes8, first: int, width: int, above: Bytes8) -> None:
    """Rows `first` to `first` + LANES; `above` is the one before them, and zeros as far as steps go beyond it."""
    masks = mask_filters(rows, first, width)
    state = np.zeros((3, LANES), np.int16)
    state[1, 0] = above[0]
    keep = np.empty((BLOCK, LANES), np.int16)
    block = np.empty((BLOCK, LANES), np.uint8)
    flat = block.reshape(-1)
    origin = first * (width + 1) + 1
    for t in range(0, width + LANES - 1, BLOCK):
        for lane in range(0, LANES, BLOCK):  # the next lane reads a row further on and a column back
            transpose(rows, origin + lane * width + t, width, flat, lane, LANES)  # type: ignore[call-arg]
        if t <= LANES:
            zero_left_of_rows(keep, t)
        eight_steps(block, keep, above, t + 1, masks, state)  # type: ignore[call-arg] # Numba gives the first
        for lane in range(0, LANES, BLOCK):
            row, column = first + lane, t - lane
            if column >= BLOCK - 1 and column + BLOCK <= width:
                transpose(flat, lane, LANES, pixels, row * width + column, width - 1)
            else:
                store_edge(block, lane, pixels, row, column, width)


@compiled(types.boolean(BUFFER, BUFFER, types.intp, types.intp))
def undo_filters(rows: Bytes8, pixels: Bytes8, height: int, width: int) -> bool:
    """False for a filter that PNG lacks. Unless its height is a multiple of LANES, some rows are done twice."""
    for row in range(height):
        if rows[row * (width + 1)] > LAST_FILTER:
            return False
    above = np.zeros(width + LANES + BLOCK, np.uint8)
    for start in range(0, height, LANES):
        first = min(start, height - LANES)
        if first > 0:
            above[:width] = pixels[(first - 1) * width : first * width]
        wavefront(rows, pixels, first, width, above)
    return True
