"""The contract of cxrbench.batch, held by every loader of the registry, over every view, encoding and number of ranks.

`folder`, which is Pillow's and torchvision's code, says what the pixels must be.
"""

import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from cxrbench.batch import NO_ID, Batch
from cxrbench.dataset.encodings import ENCODINGS
from cxrbench.errors import UsageError
from cxrbench.labels import NIH14
from cxrbench.loaders.registry import LOADERS
from tests.conftest import Run
from tests.loaders import (
    CROP,
    JPEG_DIFFERS_BY,
    NUM_IMAGES,
    SIZE_PX,
    SOURCE_PX,
    Epoch,
    Set,
    in_process,
    make_set,
    together,
)

# webdataset leaves closing its tars to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
# All of them are tested; scripts/check leaves the slow ones out. Who gets an image, and where a position is, does not
# depend on how the image is stored: that is crossed with one encoding, and tried once with each other.
SETS = [name if name in ("npy", "htj2k") else pytest.param(name, marks=pytest.mark.slow) for name in ENCODINGS]
RANKS = [("npy", 1), ("npy", 3), ("npy", 7), ("htj2k", 3)]
SLOW_RANKS = [("npy", 2), ("npy", 5), ("png", 7), ("jpeg", 3), ("jp2", 3)]
POSITIONS = [("npy", "train"), ("npy", "center"), ("htj2k", "train")]
SLOW_POSITIONS = [(name, "train") for name in ENCODINGS if name not in ("npy", "htj2k")]
LARGER = [
    name if name == "png" else pytest.param(name, marks=pytest.mark.slow) for name in ("png", "jpeg", "htj2k", "npy")
]
TORCHVISION = {"center": v2.CenterCrop(CROP), "tencrop": v2.TenCrop(CROP)}


def with_slow(quick: list[tuple[str, Any]], slow: list[tuple[str, Any]]) -> list[Any]:
    return [*quick, *(pytest.param(*values, marks=pytest.mark.slow) for values in slow)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, cli: Run) -> Path:
    out = tmp_path_factory.mktemp("source") / "phantoms"
    done = cli("synth", "--out", out, "--images", NUM_IMAGES + 2, "--size", SOURCE_PX, "--workers", 1)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module", params=SETS)
def made(request: pytest.FixtureRequest, source: Path, cli: Run, tmp_path_factory: pytest.TempPathFactory) -> Set:
    return make_set(cli, source, tmp_path_factory.mktemp("sets") / request.param, request.param)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    in_process(monkeypatch)


def expected(made: Set, view: str) -> Epoch:
    """What everyone would call the views of these images, found without our code."""
    samples = pd.read_parquet(made.folder / "samples.parquet")
    samples = samples[samples["name"].isin(pd.read_csv(made.split).query("part == 'test'")["name"])]
    images = []
    for name in samples["name"]:
        with Image.open(made.source / "images" / name) as image:
            seen = TORCHVISION[view](v2.Resize(SIZE_PX)(image.convert("L")))
        if view == "tencrop":
            images.append(np.stack([np.asarray(each)[None] for each in seen]))
        else:
            images.append(np.asarray(seen)[None])
    return Epoch(samples["id"].to_numpy(), samples[list(NIH14)].to_numpy(np.float32), np.stack(images))


def assert_same_images(found: Epoch, wanted: Epoch, lossless: bool) -> None:
    found = found.by_id()
    assert found.ids.tolist() == wanted.ids.tolist(), "each image once"
    assert np.array_equal(found.labels, wanted.labels)
    assert found.images.dtype == np.uint8
    if lossless:
        assert np.array_equal(found.images, wanted.images)
    else:  # the loss of the encoding itself, of these few pixels, is another matter: see the next test
        assert np.abs(found.images.astype(int) - wanted.images).mean() < 2


@pytest.mark.parametrize("view", ["center", "tencrop"])
@pytest.mark.parametrize("name", LOADERS)
def test_views_are_those_of_pillow_and_torchvision(name: str, view: str, made: Set) -> None:
    data = made.open().opened
    with made.loader(name, view=view) as loader:
        assert_same_images(together(loader), expected(made, view), data.encoding.lossless or name == "folder")


@pytest.mark.parametrize("name", LOADERS)
def test_a_lossy_encoding_is_decoded_alike(name: str, made: Set) -> None:
    """Every loader gives what the data set's own decoder gives, to a rounding."""
    data = made.open().opened
    if data.encoding.lossless or name == "folder":
        return
    with made.loader(name) as loader, made.loader("resident") as other:
        found, wanted = together(loader).by_id(), together(other).by_id()
    assert np.abs(found.images.astype(int) - wanted.images).mean() <= JPEG_DIFFERS_BY


@pytest.mark.parametrize(("made", "world"), with_slow(RANKS, SLOW_RANKS), indirect=["made"])
@pytest.mark.parametrize("name", LOADERS)
def test_every_image_is_evaluated_once_over_all_ranks(name: str, world: int, made: Set) -> None:
    loaders = [made.loader(name, batch_size=8, rank=rank, world=world) for rank in range(world)]
    batches = [list(map(clone, loader)) for loader in loaders]
    steps = math.ceil(math.ceil(NUM_IMAGES / world) / 8)
    assert {len(loader) for loader in loaders} == {len(each) for each in batches} == {steps}
    assert [loader.num_samples for loader in loaders] == [sum(int(b.valid.sum()) for b in each) for each in batches]
    assert sum(loader.num_samples for loader in loaders) == NUM_IMAGES
    every = [batch for each in batches for batch in each]
    assert {(len(b.images), len(b.labels), len(b.ids), len(b.valid)) for b in every} == {(8, 8, 8, 8)}
    assert all((b.ids[~b.valid] == NO_ID).all() and (b.labels[~b.valid] == 0).all() for b in every)
    lossless = made.open().opened.encoding.lossless or name == "folder"
    assert_same_images(together(every), expected(made, "center"), lossless)
    for loader in loaders:
        loader.close()


def clone(batch: Batch) -> Batch:
    return replace(batch, images=batch.images.clone())


@pytest.mark.parametrize(("made", "world"), with_slow(RANKS, SLOW_RANKS), indirect=["made"])
@pytest.mark.parametrize("name", LOADERS)
def test_ranks_train_on_different_images_in_equal_steps(name: str, world: int, made: Set) -> None:
    loaders = [made.loader(name, batch_size=8, view="train", rank=rank, world=world) for rank in range(world)]
    labels = dict(zip(made.open().opened.ids.tolist(), made.open().opened.labels, strict=True))
    steps, orders = NUM_IMAGES // world // 8, []
    assert [len(loader) for loader in loaders] == [steps] * world
    for _ in range(3):
        epochs = [together(loader) for loader in loaders]
        ids = np.concatenate([epoch.ids for epoch in epochs])
        assert len(ids) == len(set(ids.tolist())) == steps * world * 8
        found = [pair for epoch in epochs for pair in zip(epoch.ids.tolist(), epoch.labels, strict=True)]
        assert all(np.array_equal(labels[number], delivered) for number, delivered in found)
        orders.append([tuple(epoch.ids.tolist()) for epoch in epochs])
    assert all(len({order[rank] for order in orders}) == 3 for rank in range(world)), "another order each epoch"
    if world > 1:
        assert any({*orders[0][rank]} != {*orders[1][rank]} for rank in range(world)), "and another part"
    for loader in loaders:
        loader.close()


@pytest.mark.parametrize("name", LOADERS)
def test_a_seed_gives_the_same_batches_and_another_seed_others(name: str, made: Set) -> None:
    def two_epochs(seed: int) -> list[Epoch]:
        with made.loader(name, view="train", seed=seed) as loader:
            return [together(loader), together(loader)]

    first, again, other = two_epochs(1), two_epochs(1), two_epochs(2)
    assert all(one.equals(two) for one, two in zip(first, again, strict=True))
    assert first[0].ids.tolist() != other[0].ids.tolist()


@pytest.mark.parametrize(("made", "view"), with_slow(POSITIONS, SLOW_POSITIONS), indirect=["made"])
@pytest.mark.parametrize("name", LOADERS)
def test_a_saved_position_goes_on_with_the_same_batches(name: str, view: str, made: Set) -> None:
    """In the middle of the second epoch, at its end, and between two epochs."""
    with made.loader(name, view=view) as loader:
        together(loader)
        following, states = [], {}
        states[0] = loader.state_dict()
        for number, batch in enumerate(loader, 1):
            following.append(together([batch]))
            states[number] = loader.state_dict()
        states["after"] = loader.state_dict()
        third = together(loader)
    for position in (0, 3, len(following), "after"):
        with made.loader(name, view=view) as loader:
            loader.load_state_dict(saved_and_loaded(states[position]))
            if position != "after":
                loader.set_epoch(1)  # as a training loop would; the position stays
                rest = [together([batch]) for batch in loader]
                assert len(rest) == len(following) - position
                assert all(ours.equals(theirs) for ours, theirs in zip(rest, following[position:], strict=True))
            assert together(loader).equals(third)


def saved_and_loaded(state: dict[str, object]) -> dict[str, object]:
    """Through a checkpoint that holds no code."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


@pytest.mark.parametrize("name", LOADERS)
def test_an_epoch_left_early_begins_anew(name: str, made: Set) -> None:
    with made.loader(name, view="train") as loader:
        whole = together(loader)
        loader.set_epoch(0)
        for number, _ in enumerate(loader):
            if number == 2:
                break
        assert together(loader).equals(whole)
        second = together(loader)
        loader.set_epoch(1)
        assert together(loader).equals(second)


@pytest.mark.parametrize("name", LOADERS)
def test_a_state_of_another_loader_is_refused(name: str, made: Set) -> None:
    wanted = pytest.raises(UsageError, match=r"batch_size differs; got 9; allowed: 8")
    with made.loader(name) as loader, made.loader(name, batch_size=9) as other, wanted:
        loader.load_state_dict(other.state_dict())


@pytest.fixture(scope="module", params=LARGER)
def larger(request: pytest.FixtureRequest, source: Path, cli: Run, tmp_path_factory: pytest.TempPathFactory) -> Set:
    """Stored at the source's size, so that loaders have to resize."""
    return make_set(cli, source, tmp_path_factory.mktemp("larger") / request.param, request.param, "source")


@pytest.mark.parametrize("view", ["center", "tencrop"])
@pytest.mark.parametrize("name", LOADERS)
def test_resizing_is_pillows_or_within_a_stated_bound(name: str, view: str, larger: Set) -> None:
    data, wanted = larger.open().opened, expected(larger, view)
    with larger.loader(name, view=view) as loader:
        found = together(loader).by_id()
    assert found.ids.tolist() == wanted.ids.tolist()
    by_dali = name == "dali" and data.manifest["encoding"] in ("npy", "jpeg")
    if not by_dali and (data.encoding.lossless or name == "folder"):
        assert np.array_equal(found.images, wanted.images)
    else:
        assert np.abs(found.images.astype(int) - wanted.images).mean() <= (0.5 if data.encoding.lossless else 2)
