"""Where things lie: the patient's own coordinates, the drawing grid, and soft-edged shapes on it.

Anatomy is written in thorax units: u runs to the patient's left (the image's right) with the inner chest wall at -1
and 1, v runs down with 0 in the middle of the lungs. A pose maps them to the image, so that one description serves
every patient, posture and image size. Scenes are drawn on a grid of 256 or 512 pixels and scaled to the size asked for:
beyond that an X-ray holds little but noise.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

Floats = npt.NDArray[np.floating[Any]]  # float32 wherever it is large
Window = tuple[slice, slice]  # rows, columns
Rect = tuple[float, float, float, float]  # left, top, right, bottom in thorax units

SUPERSAMPLING = 2
DOME_GRID_PX = 64
MARGIN = 1 / 32  # of the image's side, drawn beyond its edges so that tilting it leaves no empty corners
ATLAS_UNITS = 5.0


def grid_px_for(size_px: int) -> int:
    return 256 if size_px <= 256 else 512


@dataclass(frozen=True, slots=True)
class Pose:
    centre_x: float  # all four in fractions of the image's side
    centre_y: float
    scale_x: float  # of one thorax unit
    scale_y: float
    tilt: float  # radians; the scene is drawn upright and tilted at the end


@dataclass(frozen=True, slots=True)
class Frame:
    inner_px: int  # the image's side
    margin_px: int
    pose: Pose
    u: Floats  # [1, side]
    v: Floats  # [side, 1]

    @classmethod
    def of(cls, pose: Pose, inner_px: int, margin: float = MARGIN) -> "Frame":
        margin_px = round(margin * inner_px)
        axis = (np.arange(inner_px + 2 * margin_px, dtype=np.float32) + (0.5 - margin_px)) / inner_px
        u = ((axis - pose.centre_x) / pose.scale_x).astype(np.float32)
        v = ((axis - pose.centre_y) / pose.scale_y).astype(np.float32)
        return cls(inner_px, margin_px, pose, u[None, :], v[:, None])

    @property
    def side_px(self) -> int:
        return int(self.u.size)

    @property
    def unit_px(self) -> float:
        return self.pose.scale_x * self.inner_px

    def zeros(self) -> Floats:
        return np.zeros((self.side_px, self.side_px), np.float32)

    def at(self, window: Window) -> tuple[Floats, Floats]:
        """The coordinates of a window: a row of u, a column of v."""
        return self.u[:, window[1]], self.v[window[0]]

    def to_px(self, points: Floats) -> Floats:
        """Grid pixels (x, y) of points (u, v)."""
        pose, side = self.pose, self.inner_px
        scale = np.array([pose.scale_x * side, pose.scale_y * side], np.float32)
        origin = np.array([pose.centre_x * side + self.margin_px, pose.centre_y * side + self.margin_px], np.float32)
        return np.asarray(points * scale + origin, np.float32)

    def window(self, rect: Rect) -> Window:
        """The grid pixels that cover a rectangle; never empty, so that callers need not ask."""
        left, top, right, bottom = self.to_px(np.array([rect[:2], rect[2:]], np.float32)).ravel().tolist()
        return self._span(top, bottom), self._span(left, right)

    def _span(self, low: float, high: float) -> slice:
        start = min(max(math.floor(low), 0), self.side_px - 2)
        return slice(start, min(max(math.ceil(high), start + 2), self.side_px))

    def box(self, rect: Rect, size_px: int) -> tuple[float, float, float, float]:
        """x, y, width, height of a rectangle in the finished, tilted image of `size_px` pixels."""
        blur = 3 / self.unit_px  # scaling spreads what was drawn
        left, top, right, bottom = rect[0] - blur, rect[1] - blur, rect[2] + blur, rect[3] + blur
        corners = np.array([(left, top), (right, top), (left, bottom), (right, bottom)], np.float32)
        x, y = ((self.to_px(corners) - self.margin_px) / self.inner_px - 0.5).T
        cos, sin = math.cos(self.pose.tilt), math.sin(self.pose.tilt)
        turned = np.clip(np.stack([x * cos - y * sin, x * sin + y * cos]) + 0.5, 0, 1) * size_px
        low, high = turned.min(axis=1), turned.max(axis=1)
        return float(low[0]), float(low[1]), float(high[0] - low[0]), float(high[1] - low[1])

    def finish(self, layer: Floats, size_px: int) -> Floats:
        """Tilt the scene, cut off its margin, and scale it."""
        side = self.inner_px
        cos, sin = math.cos(self.pose.tilt), math.sin(self.pose.tilt)
        half, centre = side / 2, side / 2 + self.margin_px
        affine = (cos, sin, centre - half * (cos + sin), -sin, cos, centre - half * (cos - sin))
        image = Image.fromarray(layer).transform(
            (side, side), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR
        )
        if side != size_px:
            # Pillow's bicubic averages when it shrinks.
            image = image.resize((size_px, size_px), Image.Resampling.BICUBIC)
        return np.array(image, np.float32)

    def polygon(self, points: Floats, blur: float = 0.006) -> tuple[Window, Floats]:
        """A filled outline with edges blurred by `blur` units, in the smallest window that holds it."""
        px = self.to_px(points)
        margin = 2 + 3 * blur * self.unit_px
        (left, top), (right, bottom) = (px.min(axis=0) - margin).tolist(), (px.max(axis=0) + margin).tolist()
        rows, columns = self._span(top, bottom), self._span(left, right)
        size = (columns.stop - columns.start) * SUPERSAMPLING, (rows.stop - rows.start) * SUPERSAMPLING
        image = Image.new("L", size)
        corners = (px - np.array([columns.start, rows.start], np.float32)) * SUPERSAMPLING
        ImageDraw.Draw(image).polygon(corners.ravel().tolist(), fill=255)
        return (rows, columns), soften(image.reduce(SUPERSAMPLING), blur * self.unit_px)

    def depth(self, outlines: list[Floats], blur: float) -> Floats:
        """How far inside the outlines: their shape blurred by `blur` units, on a coarse grid of this frame."""
        coarse = DOME_GRID_PX / self.side_px
        image = Image.new("L", (DOME_GRID_PX, DOME_GRID_PX))
        pen = ImageDraw.Draw(image)
        for outline in outlines:
            pen.polygon((self.to_px(outline) * coarse).ravel().tolist(), fill=255)
        blurred = image.filter(ImageFilter.GaussianBlur(coarse * blur * self.unit_px))
        return np.asarray(blurred, np.float32) * np.float32(1 / 255)

    def coarse(self) -> tuple[Floats, Floats]:
        """The coordinates of that coarse grid."""
        at = ((np.arange(DOME_GRID_PX) + 0.5) * (self.side_px / DOME_GRID_PX)).astype(int)
        return self.u[:, at], self.v[at]

    def enlarge(self, coarse: Floats) -> Floats:
        """From the coarse grid to the full one."""
        image = Image.fromarray(coarse).resize((self.side_px, self.side_px), Image.Resampling.BILINEAR)
        return np.array(image, np.float32)

    def paint(self, layer: Floats, points: Floats, value: float, blur: float = 0.006) -> None:
        window, mask = self.polygon(points, blur)
        mask *= value
        layer[window] += mask

    def fit(self, atlas: "Atlas", shift_u: float = 0.0) -> tuple[Window, Floats]:
        """The part of an atlas that lies in this frame, as 0 to 1, and where it lies."""
        left, top, right, bottom = atlas.rect
        edges = self.to_px(np.array([(left + shift_u, top), (right + shift_u, bottom)], np.float32))
        low, high = np.ceil(edges[0]).clip(0), np.floor(edges[1]).clip(None, self.side_px)
        scale = np.array(atlas.image.size) / (edges[1] - edges[0])
        box = (*((low - edges[0]) * scale).tolist(), *((high - edges[0]) * scale).tolist())
        width, height = (high - low).astype(int).tolist()
        fitted = atlas.image.resize((width, height), Image.Resampling.BILINEAR, box)
        x, y = low.astype(int).tolist()
        return (slice(y, y + height), slice(x, x + width)), np.asarray(fitted, np.float32) * np.float32(1 / 255)

    def canvas(self, supersampling: int = SUPERSAMPLING) -> "Canvas":
        return Canvas(self, supersampling)


@dataclass(frozen=True, slots=True)
class Atlas:
    """A picture drawn once, finer than any scene, to be fitted to each patient."""

    image: Image.Image
    rect: Rect

    @classmethod
    def of(cls, frame: Frame, layer: Floats, rect: Rect) -> "Atlas":
        """Part of a layer of values from 0 to 1, in 8 bits: many of them are kept."""
        (left, top), (right, bottom) = np.round(frame.to_px(np.array([rect[:2], rect[2:]]))).astype(int).tolist()
        part = np.clip(layer[top:bottom, left:right], 0, 1)
        return cls(Image.fromarray((part * 255 + 0.5).astype(np.uint8)), rect)


@cache
def atlas_frame(inner_px: int) -> Frame:
    scale = 1 / ATLAS_UNITS
    return Frame.of(Pose(0.5, 0.5, scale, scale, 0.0), round(0.5 * ATLAS_UNITS * inner_px), margin=0)


class Canvas:
    """Lines of many widths drawn into one layer; a line that crosses another does not add to it."""

    def __init__(self, frame: Frame, supersampling: int) -> None:
        self._frame = frame
        self._per_px = supersampling
        side = frame.side_px * supersampling
        self._image = Image.new("L", (side, side))
        self._draw = ImageDraw.Draw(self._image)

    def line(self, points: Floats, width: float, strength: float) -> None:
        """A line `width` units wide; one thinner than a pixel is drawn a pixel wide and weaker."""
        self.px_line((self._frame.to_px(points) * self._per_px).ravel().tolist(), width, strength)

    def polygon(self, points: Floats, strength: float) -> None:
        flat = (self._frame.to_px(points) * self._per_px).ravel().tolist()
        self._draw.polygon(flat, fill=int(255 * strength))

    def px_line(self, flat_px: list[float], width: float, strength: float) -> None:
        width_px = width * self._frame.unit_px * self._per_px
        drawn_px = max(1, round(width_px))
        self._draw.line(flat_px, fill=int(255 * strength * min(1.0, width_px / drawn_px)), width=drawn_px, joint=None)

    def layer(self, blur: float = 0.0) -> Floats:
        return soften(self._image.reduce(self._per_px), blur * self._frame.unit_px)


def soften(image: Image.Image, blur_px: float) -> Floats:
    if blur_px > 0.6:
        # Three box passes make a bell; one does for edges that are nearly sharp.
        kernel = ImageFilter.GaussianBlur(float(blur_px)) if blur_px > 3 else ImageFilter.BoxBlur(float(blur_px) * 1.5)
        image = image.filter(kernel)
    return np.asarray(image, np.float32) * np.float32(1 / 255)


def ramp(x: Floats, start: float, end: float) -> Floats:
    """0 before `start`, 1 after `end`, smooth between; `start` may be the larger."""
    t = np.clip((x - start) * (1 / (end - start)), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


@cache
def _steps(num: int) -> Floats:
    return np.linspace(0, 1, num, endpoint=False, dtype=np.float32)


def spline(points: list[tuple[float, float]], steps: int = 8, closed: bool = True) -> Floats:
    """A smooth curve through all points (Catmull-Rom)."""
    p = np.asarray(points, np.float32)
    before, after = (p[-1:], p[:2]) if closed else (p[:1], p[-1:])
    p = np.concatenate([before, p, after])
    t = _steps(steps)[None, :, None]
    a, b, c, d = (q[:, None, :] for q in (p[:-3], p[1:-2], p[2:-1], p[3:]))
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    flat = curve.reshape(-1, 2)
    return flat if closed else np.concatenate([flat, p[-1:]])


def disc(centre: tuple[float, float], radius: tuple[float, float], wobble: Floats | None = None) -> Floats:
    """An ellipse's outline; `wobble` (one factor a point, 32 of them) makes it lobulated."""
    angle = 2 * math.pi * _steps(32)
    reach = np.ones(32, np.float32) if wobble is None else wobble
    return np.stack(
        [centre[0] + radius[0] * reach * np.cos(angle), centre[1] + radius[1] * reach * np.sin(angle)], axis=-1
    )
