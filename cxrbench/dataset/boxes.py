"""NIH's boxes as the images of one data set have them: checked, cut to their images, and what is of no use counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from cxrbench.dataset.table import read_boxes
from cxrbench.errors import DataError

CORNERS = ("x0", "y0", "x1", "y1")


@dataclass(frozen=True, eq=False, slots=True)
class Given:
    boxes: pd.DataFrame  # name, finding and CORNERS, in pixels of the source image
    num_given: int
    repeated: int
    clipped: int
    not_in_data: tuple[str, ...]  # the image of each box
    unknown: dict[str, int]  # finding -> boxes


def given_boxes(path: Path, samples: pd.DataFrame, findings: Sequence[str]) -> Given:
    """Those of these images and findings. A box may reach over its image's edge, but not lie beyond it."""
    read = read_boxes(path)
    boxes = read.drop_duplicates()
    in_data = boxes["name"].isin(samples["name"])
    if not in_data.any():
        got, do = (
            f"boxes of {boxes['name'].iloc[0]} and {boxes['name'].nunique() - 1:,} more",
            "give those of these images",
        )
        raise DataError("no box is of an image in the data set", got=got, do=do)
    known = boxes["finding"].isin(findings)
    if not (in_data & known).any():
        got, allowed = ", ".join(sorted(boxes["finding"][in_data].unique())), ", ".join(findings)
        raise DataError("no box is of a finding that the network knows", got=got, allowed=allowed)
    used, clipped = cut(boxes[in_data & known], samples)
    unknown = boxes["finding"][in_data & ~known].value_counts()
    return Given(
        boxes=used,
        num_given=len(read),
        repeated=len(read) - len(boxes),
        clipped=clipped,
        not_in_data=tuple(boxes["name"][~in_data]),
        unknown={str(name): int(count) for name, count in unknown.items()},
    )


def cut(boxes: pd.DataFrame, samples: pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """To the pixels of their images, and how many needed it."""
    places = samples.set_index("name").loc[boxes["name"]]
    right, bottom = (places[side].to_numpy() for side in ("source_width", "source_height"))
    x, y, width, height = (boxes[name].to_numpy() for name in ("x", "y", "width", "height"))
    x0, y0 = x.clip(0), y.clip(0)
    x1, y1 = (x + width).clip(max=right), (y + height).clip(max=bottom)
    outside = (x >= right) | (y >= bottom) | (x + width <= 0) | (y + height <= 0)
    is_sliver = ~outside & ((x1 - x0) * (y1 - y0) <= 0)  # so thin that rounding leaves nothing of it
    bad = {
        "a box without area": (width <= 0) | (height <= 0) | is_sliver,
        "a box outside of its image": outside,
    }
    for what, those in bad.items():
        if those.any():
            row = int(those.argmax())
            more = f", and {those.sum() - 1:,} more" if those.sum() > 1 else ""
            got = f"x {x[row]:g}, y {y[row]:g}, {width[row]:g}x{height[row]:g} in {boxes['name'].iloc[row]}{more}"
            allowed = f"within {right[row]}x{bottom[row]} pixels"
            do = "boxes count in pixels of the PNGs that were sharded"
            raise DataError(what, got=got, allowed=allowed, do=do)
    found = boxes[["name", "finding"]].reset_index(drop=True)
    for name, corners in zip(CORNERS, (x0, y0, x1, y1), strict=True):
        found[name] = corners
    return found, int(((x < 0) | (y < 0) | (x + width > right) | (y + height > bottom)).sum())
