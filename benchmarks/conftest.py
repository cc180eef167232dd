"""What the cases share: phantoms, drawn once, and in their results the machine they ran on."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from pytest_benchmark.logger import PytestBenchmarkWarning

import cxrbench
from cxrbench.benching.samples import Source, convert, phantoms
from cxrbench.data import Data
from cxrbench.dataset.gray import decode_gray
from cxrbench.environment import environment, usable_cores

NUM_IMAGES, SIZE_PX = 256, 256
ENCODINGS = ("npy", "png")
Gray = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Phantoms:
    source: Source
    images: dict[str, Gray]  # by name
    shards: dict[str, Path]  # by encoding

    def open(self, encoding: str) -> Data:
        return cxrbench.open(self.shards[encoding], split=str(self.source.split))


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Phantoms:
    work = tmp_path_factory.mktemp("cases")
    source = phantoms(work, NUM_IMAGES, SIZE_PX, usable_cores())
    images = {path.name: decode_gray(path.read_bytes()) for path in sorted(source.images.glob("*.png"))}
    return Phantoms(source, images, {each: convert(source, work / each, each, 0, 1) for each in ENCODINGS})


@pytest.hookimpl(tryfirst=True)
def pytest_configure() -> None:
    """A stored run of another machine is compared with too, with a word about it."""
    warnings.simplefilter("default", PytestBenchmarkWarning)


def pytest_benchmark_update_machine_info(machine_info: dict[str, Any]) -> None:
    """Ours instead of the plugin's; without the commit, which has its own place and is to be compared with others."""
    machine_info.clear()
    machine_info.update(environment())
    del machine_info["commit"]


def pytest_benchmark_update_json(output_json: dict[str, Any]) -> None:
    """Only the figures: thousands of single timings are of no use later."""
    for case in output_json["benchmarks"]:
        case["stats"].pop("data", None)
