"""Bytes against decode rate, a dot an encoding, a panel a size: an SVG of a record of `cxrbench bench encodings`.

cxrbench bench encodings --images FOLDER --out RECORD.json
python -m benchmarks.encoding_study RECORD.json --out docs/images/encodings.svg
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from cxrbench.throughput.record import read_record

PANEL, GAP, MARGIN, FOOT = 280, 70, 60, 70  # pixels
COLOURS = {
    "npy": "#444444",
    "png": "#1f6fb4",
    "jpeg": "#d1495b",
    "htj2k": "#2e8b57",
    "jp2": "#8a5fbf",
    "webp": "#c98a00",
    "jxl": "#008b9a",
}
FONT = 'font-family="sans-serif" font-size="12" paint-order="stroke" stroke="white" stroke-width="3"'


class Axis:
    """Logarithmic; from figures to pixels."""

    def __init__(self, figures: Sequence[float], start: float, stop: float) -> None:
        self.low, self.high = math.log10(min(figures) / 1.4), math.log10(max(figures) * 1.4)
        self.start, self.stop = start, stop

    def __call__(self, figure: float) -> float:
        return self.start + (self.stop - self.start) * (math.log10(figure) - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        decades = range(math.floor(self.low), math.ceil(self.high) + 1)
        found = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
        return [tick for tick in found if self.low <= math.log10(tick) <= self.high]


def line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    at = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {at} stroke="{colour}" stroke-width="{width}"/>'


def text(x: float, y: float, words: str, anchor: str = "middle", more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {FONT} {more}>{escape(words)}</text>'


def panel(rows: Sequence[dict[str, Any]], size: str, left: float, top: float) -> list[str]:
    rates = [row["images_per_s"] for row in rows]
    x = Axis([row["bytes"] / 1000 for row in rows], left, left + PANEL)
    y = Axis([figure for rate in rates for figure in (rate["low"], rate["high"])], top + PANEL, top)
    drawn = [
        text(
            left + PANEL / 2,
            top - 12,
            f"{size} pixels" if size.isdigit() else "as the files are",
            more='font-weight="bold"',
        )
    ]
    for tick in x.ticks():
        drawn += [line(x(tick), top, x(tick), top + PANEL, "#e4e4e4"), text(x(tick), top + PANEL + 16, f"{tick:,g}")]
    for tick in y.ticks():
        drawn += [
            line(left, y(tick), left + PANEL, y(tick), "#e4e4e4"),
            text(left - 6, y(tick) + 4, f"{tick:,g}", "end"),
        ]
    for row, rate in zip(rows, rates, strict=True):
        name, across = row["case"]["encoding"], x(row["bytes"] / 1000)
        right = across < left + PANEL / 2  # of the dot is more room
        drawn += [
            line(across, y(rate["low"]), across, y(rate["high"]), COLOURS[name], 2),
            f'<circle cx="{across:.1f}" cy="{y(rate["median"]):.1f}" r="5" fill="{COLOURS[name]}"/>',
            text(across + (9 if right else -9), y(rate["median"]) + 4, named(row), "start" if right else "end"),
        ]
    return drawn


def named(row: dict[str, Any]) -> str:
    name, loss = row["case"]["encoding"], row["psnr_db"]
    return f"{name}" if loss is None else f"{name} ({loss:.0f} dB)"


def svg(record: dict[str, Any]) -> str:
    """Of the first set of images, where there are two."""
    rows = [row for row in record["rows"] if row["case"]["set"] != "beside"]
    sizes = list(dict.fromkeys(row["case"]["size"] for row in rows))
    width, height = MARGIN + len(sizes) * (PANEL + GAP), MARGIN + PANEL + FOOT
    drawn = [
        part
        for place, size in enumerate(sizes)
        for part in panel(
            [row for row in rows if row["case"]["size"] == size], size, MARGIN + place * (PANEL + GAP), 40
        )
    ]
    middle = 40 + PANEL / 2
    about = f"KB an image; range of {record['settings']['turns']} turns; {record['environment']['cpu']}, one core"
    drawn += [
        text(14, middle, "images decoded a second", more=f'transform="rotate(-90 14 {middle})"'),
        text(width / 2, height - 30, about),
    ]
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    body = "\n".join(['<rect width="100%" height="100%" fill="white"/>', *drawn])
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n{body}\n</svg>\n'


def main() -> None:
    parser = argparse.ArgumentParser(description="Bytes against decode rate of each encoding, as an SVG.")
    parser.add_argument("record", type=Path, help="what cxrbench bench encodings --out wrote")
    parser.add_argument("--out", type=Path, required=True, help="the SVG")
    args = parser.parse_args()
    args.out.write_text(svg(read_record(args.record, "encodings")))


if __name__ == "__main__":
    main()
