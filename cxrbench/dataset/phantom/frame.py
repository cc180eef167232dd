"""Where things lie: the patient's own coordinates, the drawing grid, and soft-edged shapes on it.

Anatomy is written in thorax units: u runs to the patient's left (the image's right) with the inner chest wall at -1
and 1, v runs down with 0 in the middle of the lungs. A pose maps them to the image, so that one description serves
every patient, posture and image size. Scenes are drawn on a grid of 256 or 512 pixels and scaled to the size asked for:
beyond that an X-ray holds little but noise.
"""

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

Floats = npt.NDArray[np.float32]
Window = tuple[slice, slice]
Rect = tuple[float, float, float, float]  # left, top, right, bottom in thorax units

SUPERSAMPLING = 2
DOME_GRID_PX = 64
ATLAS_SCALE = 0.25


def grid_px_for(size_px: int) -> int:
    return 256 if size_px <= 256 else 512


@cache
def _unit_axes(grid_px: int) -> tuple[Floats, Floats]:
    axis = (np.arange(grid_px, dtype=np.float32) + 0.5) / grid_px
    return axis[:, None], axis[None, :]


@dataclass(frozen=True, slots=True)
class Pose:
    centre_x: float  # all four in fractions of the image's side
    centre_y: float
    scale_x: float  # of one thorax unit
    scale_y: float
    tilt: float  # radians


@dataclass(frozen=True, slots=True)
class Frame:
    grid_px: int
    pose: Pose
    u: Floats
    v: Floats

    @classmethod
    def of(cls, pose: Pose, grid_px: int) -> "Frame":
        y, x = _unit_axes(grid_px)
        x, y = x - pose.centre_x, y - pose.centre_y
        cos, sin = math.cos(pose.tilt), math.sin(pose.tilt)
        u = (x * (cos / pose.scale_x) + y * (sin / pose.scale_x)).astype(np.float32)
        v = (y * (cos / pose.scale_y) - x * (sin / pose.scale_y)).astype(np.float32)
        return cls(grid_px, pose, u, v)

    @property
    def unit_px(self) -> float:
        return self.pose.scale_x * self.grid_px

    def zeros(self) -> Floats:
        return np.zeros((self.grid_px, self.grid_px), np.float32)

    def to_px(self, points: Floats) -> Floats:
        """Grid pixels (x, y) of points (u, v)."""
        pose = self.pose
        cos, sin = math.cos(pose.tilt), math.sin(pose.tilt)
        x, y = points[..., 0] * pose.scale_x, points[..., 1] * pose.scale_y
        moved = np.stack([x * cos - y * sin + pose.centre_x, x * sin + y * cos + pose.centre_y], axis=-1)
        return np.asarray(moved * self.grid_px, np.float32)

    def window(self, rect: Rect) -> Window:
        """The grid pixels that cover a rectangle; never empty, so that callers need not ask."""
        left, top, right, bottom = rect
        corners = self.to_px(np.array([(left, top), (right, top), (left, bottom), (right, bottom)], np.float32))
        low = np.clip(np.floor(corners.min(axis=0)).astype(int), 0, self.grid_px - 2)
        high = np.clip(np.ceil(corners.max(axis=0)).astype(int), low + 2, self.grid_px)
        return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))

    def polygon(self, points: Floats, blur: float = 0.006) -> tuple[Window, Floats]:
        """A filled outline with edges blurred by `blur` units, in the smallest window that holds it."""
        px = self.to_px(points)
        margin = 2 + 3 * blur * self.unit_px
        low = np.clip(np.floor(px.min(axis=0) - margin).astype(int), 0, self.grid_px - 2)
        high = np.clip(np.ceil(px.max(axis=0) + margin).astype(int), low + 2, self.grid_px)
        width, height = (int(n) for n in high - low)
        image = Image.new("L", (width * SUPERSAMPLING, height * SUPERSAMPLING))
        corners = ((px - low) * SUPERSAMPLING).ravel().tolist()
        ImageDraw.Draw(image).polygon(corners, fill=255)
        mask = soften(image.reduce(SUPERSAMPLING), blur * self.unit_px)
        return (slice(int(low[1]), int(low[1]) + height), slice(int(low[0]), int(low[0]) + width)), mask

    def paint(self, layer: Floats, points: Floats, value: float, blur: float = 0.006) -> None:
        window, mask = self.polygon(points, blur)
        mask *= value
        layer[window] += mask

    def warp(self, atlas: Image.Image, shift_u: float = 0.0, stretch: float = 1.0) -> Floats:
        """A picture drawn on the atlas frame, brought into this frame's pose, moved and stretched if wanted."""
        pose, side = self.pose, atlas.width
        per_u, per_v = (ATLAS_SCALE * side / (scale * stretch) for scale in (pose.scale_x, pose.scale_y))
        cos, sin = math.cos(pose.tilt), math.sin(pose.tilt)
        a, b, d, e = per_u * cos, per_u * sin, -per_v * sin, per_v * cos
        c = side * (0.5 - shift_u * ATLAS_SCALE) - a * pose.centre_x - b * pose.centre_y
        f = side * 0.5 - d * pose.centre_x - e * pose.centre_y
        g = self.grid_px
        affine = (a / g, b / g, c, d / g, e / g, f)
        bent = atlas.transform((g, g), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
        return np.asarray(bent, np.float32)

    def canvas(self) -> "Canvas":
        return Canvas(self)


@cache
def atlas_frame(grid_px: int) -> Frame:
    """The frame of pictures that are drawn once and then warped: 4 by 4 thorax units, finer than any scene."""
    return Frame.of(Pose(0.5, 0.5, ATLAS_SCALE, ATLAS_SCALE, 0.0), 2 * grid_px)


def as_atlas(layer: Floats) -> Image.Image:
    """A layer of values from 0 to 1, in 8 bits: many of them are kept."""
    return Image.fromarray((np.clip(layer, 0, 1) * 255 + 0.5).astype(np.uint8))


class Canvas:
    """Lines of many widths drawn into one layer; a line that crosses another does not add to it."""

    def __init__(self, frame: Frame) -> None:
        self._frame = frame
        side = frame.grid_px * SUPERSAMPLING
        self._image = Image.new("L", (side, side))
        self._draw = ImageDraw.Draw(self._image)

    def line(self, points: Floats, width: float, strength: float) -> None:
        """A line `width` units wide; one thinner than a pixel is drawn a pixel wide and weaker."""
        self.px_line((self._frame.to_px(points) * SUPERSAMPLING).ravel().tolist(), width, strength)

    def polygon(self, points: Floats, strength: float) -> None:
        flat = (self._frame.to_px(points) * SUPERSAMPLING).ravel().tolist()
        self._draw.polygon(flat, fill=int(255 * strength))

    def px_line(self, flat_px: list[float], width: float, strength: float) -> None:
        width_px = width * self._frame.unit_px * SUPERSAMPLING
        drawn_px = max(1, round(width_px))
        self._draw.line(flat_px, fill=int(255 * strength * min(1.0, width_px / drawn_px)), width=drawn_px, joint=None)

    def layer(self, blur: float = 0.0) -> Floats:
        return soften(self._image.reduce(SUPERSAMPLING), blur * self._frame.unit_px)


def soften(image: Image.Image, blur_px: float) -> Floats:
    if blur_px > 0.3:
        # Three box passes make a bell; one does for edges that are nearly sharp.
        kernel = ImageFilter.GaussianBlur(float(blur_px)) if blur_px > 3 else ImageFilter.BoxBlur(float(blur_px) * 1.5)
        image = image.filter(kernel)
    return np.asarray(image, np.float32) * np.float32(1 / 255)


def resize(layer: Floats, size_px: int, how: Image.Resampling) -> Floats:
    if layer.shape[0] == size_px:
        return layer
    return np.array(Image.fromarray(layer).resize((size_px, size_px), how), np.float32)


def wide_blur(layer: Floats, sigma: float) -> Floats:
    """A blur of `sigma` fractions of the image, done small: far too wide to need the full grid."""
    small = resize(layer, DOME_GRID_PX, Image.Resampling.BOX)
    small = ndimage.gaussian_filter(small, sigma * DOME_GRID_PX, mode="nearest")
    return resize(small, layer.shape[0], Image.Resampling.BICUBIC)


def ramp(x: Floats, start: float, end: float) -> Floats:
    """0 before `start`, 1 after `end`, smooth between; `start` may be the larger."""
    t = np.clip((x - start) * (1 / (end - start)), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def spline(points: list[tuple[float, float]], steps: int = 8, closed: bool = True) -> Floats:
    """A smooth curve through all points (Catmull-Rom)."""
    p = np.asarray(points, np.float32)
    if closed:
        p = np.concatenate([p[-1:], p, p[:2]])
    else:
        p = np.concatenate([p[:1], p, p[-1:]])
    t = np.linspace(0, 1, steps, endpoint=False, dtype=np.float32)[None, :, None]
    a, b, c, d = (q[:, None, :] for q in (p[:-3], p[1:-2], p[2:-1], p[3:]))
    curve = b + 0.5 * t * (c - a + t * (2 * a - 5 * b + 4 * c - d + t * (3 * (b - c) + d - a)))
    flat = curve.reshape(-1, 2)
    return flat if closed else np.concatenate([flat, p[-1:]])


def disc(centre: tuple[float, float], radius: tuple[float, float], wobble: Floats | None = None) -> Floats:
    """An ellipse's outline; `wobble` (one factor a point, 32 of them) makes it lobulated."""
    angle = np.linspace(0, 2 * math.pi, 32, endpoint=False, dtype=np.float32)
    reach = np.ones(32, np.float32) if wobble is None else wobble
    return np.stack(
        [centre[0] + radius[0] * reach * np.cos(angle), centre[1] + radius[1] * reach * np.sin(angle)], axis=-1
    )
