"""What tests of several folders share: the real sample, a phantom data set, small files, and the command line."""

import os

# Before torch: the threads of several workers, each with one a core, would wait for each other most of the time.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training import training_set as training_set  # a fixture for all folders

HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def nih() -> Path:
    """The folder of real NIH images and metadata; its README says what is in it."""
    folder = os.environ.get("CXRBENCH_NIH_SAMPLE")
    if not folder:
        pytest.skip("CXRBENCH_NIH_SAMPLE names no folder of real NIH images")
    return Path(folder).resolve()


@pytest.fixture(scope="session")
def cli() -> Run:
    """`cli("audit", "--labels", ..)` runs the command as a user does and returns its exit code and output."""

    def run(*args: object, **kwargs: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cxrbench", *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, **kwargs)

    return run


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory, cli: Run) -> Path:
    """A small phantom data set, made by the command."""
    out = tmp_path_factory.mktemp("phantoms") / "set"
    done = cli("synth", "--out", out, "--images", 200, "--size", 64, "--workers", 1)
    assert done.returncode == 0, done.stderr
    return out


def row(name: str, findings: str = "No Finding", patient: int | None = None, age: str = "50") -> str:
    """A row of NIH's CSV; the patient is read from the name if not given."""
    patient = int(name[:8]) if patient is None else patient
    return f"{name},{findings},0,{patient},{age},F,PA,2500,2048,0.168,0.168"


def write_csv(path: Path, rows: list[str], header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def many_rows(num_patients: int, num_images: int, findings: list[str]) -> list[str]:
    """`num_images` images of each patient 1..num_patients, findings in turn."""
    return [
        row(f"{patient:08d}_{visit:03d}.png", findings[(patient + visit) % len(findings)])
        for patient in range(1, num_patients + 1)
        for visit in range(num_images)
    ]


def write_png(path: Path, seed: int = 0, size_px: int = 64) -> Path:
    """An image of smooth noise, another for each seed."""
    coarse = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(coarse).resize((size_px, size_px), Image.Resampling.BICUBIC).save(path)
    return path
