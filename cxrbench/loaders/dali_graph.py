"""The one DALI graph, for the CPU and the GPU: read, decode, shrink, take the view; uint8 gray all the way.

The views are those of cxrbench.views, to the bit where no pixel is interpolated. Sides may be numbers, or nodes where
images differ in shape.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nvidia.dali import fn, math, types

from cxrbench.config import ViewConfig
from cxrbench.dataset.encodings import NPY_HEADER_BYTES
from cxrbench.loaders.decoding import DecodedImages
from cxrbench.views import CROP_TRIES, TRY_ASPECT, five_corners, is_plain_crop, may_leave, middle

Node = Any
READER = "shards"
WORDS = {8: types.INT64, 4: types.INT32, 2: types.INT16, 1: types.UINT8}  # by their pixels


@dataclass(frozen=True)
class Images:
    """A batch in the graph: [height, width, 1] each."""

    node: Node
    height: Any
    width: Any


@dataclass(frozen=True)
class Graph:
    """All that the graph depends on; lists of paths only where DALI reads the tars itself."""

    encoding: str
    extension: str
    stored: tuple[int, int] | None  # [height, width] of every image, if they have one
    device: str  # cpu or gpu
    view: str
    config: ViewConfig
    resize: bool  # the shards hold larger images than the view wants
    shuffle: bool
    tar_seed: int
    rank: int
    world: int
    tars: Sequence[str] = ()
    indexes: Sequence[str] = ()
    decoded: DecodedImages | None = None  # where a faster decoder than DALI's feeds the graph

    def outputs(self) -> tuple[Node, ...]:
        """The views, and the 16 digits of the ids unless whoever feeds the graph knows them."""
        if self.decoded is not None:
            node = fn.external_source(source=self.decoded, batch_info=True, dtype=types.UINT8, ndim=3, layout="HWC")
            return (self.viewed(self.measured(self.on_device(node), self.decoded.shape)),)
        data, digits = self.read()
        images = self.decode(data)
        return self.viewed(self.shrunk(images) if self.resize else images), digits

    def on_device(self, node: Node) -> Node:
        return node.gpu() if self.device == "gpu" else node

    def read(self) -> tuple[Node, Node]:
        """Padded: without it DALI's ranks repeat and leave out images. Tars change places and ranks every epoch."""
        shuffled: dict[str, Any] = {}  # or DALI complains of a seed without an effect
        if self.shuffle:
            shuffled = {"shuffle_after_epoch": True, "shuffle_after_epoch_seed": self.tar_seed}
        data_and_digits: Any = fn.readers.webdataset(
            paths=list(self.tars),
            index_paths=list(self.indexes),
            ext=[self.extension, "id"],
            missing_component_behavior="error",
            num_shards=self.world,
            shard_id=self.rank,
            pad_last_batch=True,
            random_shuffle=self.shuffle,
            stick_to_shard=not self.shuffle,
            **shuffled,
            name=READER,
        )
        data, digits = data_and_digits
        return data, digits

    def decode(self, data: Node) -> Images:
        if self.encoding == "npy":
            if self.stored is None:
                raise ValueError("npy shards have one shape")
            height, width = self.stored
            data = self.on_device(data)
            word_px = word_of(height * width)
            words = fn.reinterpret(data, dtype=WORDS[word_px])[NPY_HEADER_BYTES // word_px :]
            pixels = fn.reshape(fn.reinterpret(words, dtype=types.UINT8), shape=[height, width, 1], layout="HWC")
            return Images(pixels, height, width)
        backend = "mixed" if self.device == "gpu" else "cpu"
        return self.measured(fn.decoders.image(data, device=backend, output_type=types.GRAY), self.stored)

    def measured(self, node: Node, shape: tuple[int, int] | None) -> Images:
        if shape is not None:
            return Images(node, *shape)
        sides = fn.cast(node.shape(), dtype=types.INT32)
        return Images(node, sides[0], sides[1])

    def shrunk(self, images: Images) -> Images:
        """Pillow's bilinear but for a border of one pixel."""
        smaller = min if isinstance(images.height, int) else math.min
        short = smaller(images.height, images.width)
        target = smaller(short, self.config.resize)
        height, width = (target * side // short for side in (images.height, images.width))
        node = fn.resize(
            images.node,
            resize_y=as_float(height),
            resize_x=as_float(width),
            interp_type=types.INTERP_LINEAR,
            antialias=True,
        )
        return Images(node, height, width)

    def viewed(self, images: Images) -> Node:
        return VIEWS[self.view](images, self.config)


def as_float(side: Any) -> Any:
    return float(side) if isinstance(side, int) else fn.cast(side, dtype=types.FLOAT)


def middle_of(side: Any, crop: int) -> Any:
    if isinstance(side, int):
        return middle(side, crop)
    rest = side - crop
    return rest // 2 + (rest & 1) * ((rest // 2) & 1)  # half to even


def word_of(*numbers_px: int) -> int:
    """Pixels that can be moved at once: DALI's slices on the CPU take their time by the element."""
    return next(size for size in WORDS if all(number % size == 0 for number in numbers_px))


def window(images: Images, node: Node, top: Any, left: Any, crop: int) -> Node:
    if not (isinstance(left, int) and isinstance(images.width, int)):
        return node[top : top + crop, left : left + crop]
    word_px = word_of(left, crop, images.width)
    words = fn.reinterpret(node, dtype=WORDS[word_px], shape=[images.height, images.width // word_px], layout="HW")
    taken = words[top : top + crop, left // word_px : (left + crop) // word_px]
    return fn.reinterpret(taken, dtype=types.UINT8, shape=[crop, crop, 1], layout="HWC")


def center(images: Images, config: ViewConfig) -> Node:
    crop = config.crop
    return window(images, images.node, middle_of(images.height, crop), middle_of(images.width, crop), crop)


def tencrop(images: Images, config: ViewConfig) -> Node:
    corners = five_corners(images.height, images.width, config.crop, middle_of)
    flipped = fn.flip(images.node, horizontal=1)
    return fn.stack(*(window(images, each, y, x, config.crop) for each in (images.node, flipped) for y, x in corners))


def random(images: Images, config: ViewConfig) -> Node:
    take = crop_anywhere if is_plain_crop(config) else resample
    return relight(take(images, config), config)


def uniform(low: float = 0.0, high: float = 1.0) -> Node:
    """DALI refuses an empty range."""
    return low + fn.random.uniform(range=[0.0, 1.0]) * (high - low)


def whole(node: Node) -> Node:
    return fn.cast(math.floor(node), dtype=types.INT32)


def anywhere(side: Any, crop: int) -> Node:
    return whole(uniform() * (side - crop + 1))


def flips(config: ViewConfig) -> Node:
    return fn.random.coin_flip(probability=config.flip)


def crop_anywhere(images: Images, config: ViewConfig) -> Node:
    crop = config.crop
    taken = window(images, images.node, anywhere(images.height, crop), anywhere(images.width, crop), crop)
    return fn.flip(taken, horizontal=flips(config))


def resample(images: Images, config: ViewConfig) -> Node:
    """As cxrbench.views.resample; coordinates count from the corner of the first pixel."""
    height, width, crop = images.height, images.width, config.crop
    if config.scale == 1:
        top, left = anywhere(height, crop), anywhere(width, crop)
        box_height = box_width = crop
    else:
        sides = images.node.shape()[:2]
        anchor, box = fn.random_crop_generator(
            sides, random_area=[config.scale, 1.0], random_aspect_ratio=list(TRY_ASPECT), num_attempts=CROP_TRIES
        )
        top, left, box_height, box_width = anchor[0], anchor[1], box[0], box[1]
    flip = flips(config)
    angle = uniform(-config.rotation, config.rotation) * 0.017453292519943295
    zoom = uniform(1 - config.zoom, 1 + config.zoom)
    cos, sin = math.cos(angle) / zoom, math.sin(angle) / zoom
    x0, dx = left + box_width * flip - width * 0.5, box_width * (1.0 - 2.0 * flip) / crop
    y0, dy = top - height * 0.5, box_height * 1.0 / crop
    across = (cos * dx, sin * dy, cos * x0 + sin * y0 + width * 0.5)
    down = (-sin * dx, cos * dy, cos * y0 - sin * x0 + height * 0.5)
    outside: dict[str, Any] = {"fill_value": 0} if may_leave(config) else {}
    matrix = fn.reshape(fn.stack(*(fn.cast(each, dtype=types.FLOAT) for each in (*across, *down))), shape=[2, 3])
    return fn.warp_affine(images.node, matrix=matrix, size=[crop, crop], interp_type=types.INTERP_LINEAR, **outside)


def relight(node: Node, config: ViewConfig) -> Node:
    if config.brightness == 0 and config.contrast == 0:
        return node
    light = uniform(1 - config.brightness, 1 + config.brightness)
    contrast = uniform(1 - config.contrast, 1 + config.contrast)
    mean = fn.reductions.mean(node, dtype=types.FLOAT, keep_dims=True)
    values = node * (light * contrast) + mean * (light * (1.0 - contrast))
    return fn.cast(math.clamp(values, 0.0, 255.0), dtype=types.UINT8)


VIEWS = {"random": random, "center": center, "tencrop": tencrop}
