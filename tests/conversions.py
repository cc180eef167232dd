"""What the tests of conversions share: a small set of images in every layout, the command, and a folder's content."""

import re
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from cxrbench.cli import main
from cxrbench.dataset.splits import official_test_patients
from tests.conftest import row, write_csv, write_png

FINDINGS = ["No Finding", "Mass", "Effusion|Mass", "Hernia", "Nodule"]
NUM_DIFFERENT = 53  # images; the others are copies
LAYOUTS = ("folder", "zip", "tar.gz")


@dataclass(frozen=True)
class Source:
    folder: Path  # the PNGs
    labels: Path
    zip: Path
    archives: list[Path]

    def images(self, layout: str) -> list[Path]:
        return {"folder": [self.folder], "zip": [self.zip], "tar.gz": self.archives}[layout]


def make_source(base: Path, num_images: int, size_px: int = 64, num_archives: int = 3) -> Source:
    """The same images as a folder, a zip and tar.gz archives; two patients of five are in the official test part."""
    test = official_test_patients()
    others = [number for number in range(1, 20) if number not in test]
    patients = [*others[:3], *sorted(test)[:2]]
    names = [f"{patients[k % 5]:08d}_{k // 5:03d}.png" for k in range(num_images)]
    different = [write_png(base / f"{seed}.png", seed, size_px) for seed in range(min(num_images, NUM_DIFFERENT))]
    (base / "images").mkdir()
    paths = [base / "images" / name for name in names]
    for k, path in enumerate(paths):
        path.hardlink_to(different[k % NUM_DIFFERENT])
    for path in different:
        path.unlink()
    labels = write_csv(base / "labels.csv", [row(name, FINDINGS[k % 5]) for k, name in enumerate(names)])
    with zipfile.ZipFile(base / "images.zip", "w") as zipped:
        for path in paths:
            zipped.write(path, f"images/{path.name}")
    archives = [make_archive(base / f"images_{k}.tar.gz", paths[k::num_archives]) for k in range(num_archives)]
    return Source(base / "images", labels, base / "images.zip", archives)


def make_archive(path: Path, images: Sequence[Path]) -> Path:
    with tarfile.open(path, "w:gz", compresslevel=1, dereference=True) as tar:
        for image in images:
            tar.add(image, f"images/{image.name}")
    return path


def arguments(source: Source, out: Path, *more: object, layout: str = "folder") -> list[str]:
    images = map(str, source.images(layout))
    return ["shard", "--images", *images, "--labels", str(source.labels), "--out", str(out), *map(str, more)]


def command(args: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "cxrbench", *args]


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def succeed(capsys: pytest.CaptureFixture[str], args: Sequence[str]) -> str:
    """What the command printed, in this process."""
    code = main(args)
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return captured.out


def refusal(capsys: pytest.CaptureFixture[str], args: Sequence[str]) -> str:
    """The one line that a command ends with that fails."""
    code = main(args)
    captured = capsys.readouterr()
    assert (code, captured.out) == (1, "")
    assert re.fullmatch(r"cxrbench: error: [^\n]+\n", captured.err), captured.err
    return captured.err
