"""Real images, gray stored as RGBA among them, go through every loader alike."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.transforms import v2

import cxrbench
from cxrbench.loaders.registry import LOADERS
from tests.conftest import Run
from tests.loaders import in_process, together

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


@pytest.fixture(scope="module")
def shards(nih: Path, cli: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("real") / "npy"
    given = ("--images", nih / "images", "--labels", nih / "Data_Entry_2017_v2020.csv.gz", "--out", out, "--partial")
    done = cli("shard", *given, "--images-per-shard", 50)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("name", LOADERS)
def test_every_loader_delivers_what_pillow_and_torchvision_make_of_them(
    name: str, shards: Path, nih: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_process(monkeypatch)
    data = cxrbench.open(shards, split="patient")
    names = dict(zip(data.opened.ids.tolist(), data.opened.samples["name"], strict=True))
    modes = set()
    for part in ("train", "val", "test"):
        with data.loader(part, 16, "center", name, "cpu", images=nih / "images", threads=2) as loader:
            found = together(loader)
        assert sorted(names[number] for number in found.ids.tolist()) == sorted(data.opened.split.part(part)["name"])
        for number, seen in zip(found.ids.tolist(), found.images, strict=True):
            with Image.open(next((nih / "images").rglob(names[number]))) as image:
                modes.add(image.mode)
                expected = v2.CenterCrop(224)(v2.Resize(256)(image.convert("L")))
            assert np.array_equal(seen[0], np.asarray(expected)), names[number]
    assert modes == {"L", "RGBA"}
