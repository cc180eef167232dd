"""On the GPU, loaders deliver what they deliver on the CPU, and batches keep their pixels."""

import pytest
import torch

from cxrbench.batch import Batch
from cxrbench.dataset.encodings import ENCODINGS
from cxrbench.errors import UsageError
from cxrbench.loaders.registry import LOADERS
from tests.conftest import Run
from tests.loaders import JPEG_DIFFERS_BY, Epoch, Set, make_set, together

pytestmark = pytest.mark.gpu
ON_GPU = ("resident", "dali")


@pytest.fixture(scope="module", params=ENCODINGS)
def made(request: pytest.FixtureRequest, cli: Run, tmp_path_factory: pytest.TempPathFactory) -> Set:
    out = tmp_path_factory.mktemp(request.param)
    assert cli("synth", "--out", out / "source", "--images", 133, "--size", 96).returncode == 0
    return make_set(cli, out / "source", out / "set", request.param)


def on_cpu(batches: list[Batch]) -> Epoch:
    return together([Batch(b.images.cpu(), b.labels.cpu(), b.ids, b.valid) for b in batches])


@pytest.mark.parametrize("view", ["center", "tencrop"])
@pytest.mark.parametrize("name", ON_GPU)
def test_the_pixels_are_those_of_the_cpu(name: str, view: str, made: Set) -> None:
    """Held until the epoch's end, so that memory used again too early would show."""
    with made.loader(name, view=view, device="cuda") as loader:
        batches = list(loader)
    assert all(batch.images.is_cuda and batch.labels.is_cuda for batch in batches)
    with made.loader("resident", view=view) as loader:
        wanted = together(loader).by_id()
    found = on_cpu(batches).by_id()
    assert found.ids.tolist() == wanted.ids.tolist()
    assert (found.labels == wanted.labels).all()
    limit = 0 if made.open().opened.encoding.lossless else JPEG_DIFFERS_BY
    assert abs(found.images.astype(int) - wanted.images).mean() <= limit


@pytest.mark.parametrize("name", ON_GPU)
def test_a_saved_position_goes_on_with_the_same_batches(name: str, made: Set) -> None:
    with made.loader(name, view="train", device="cuda") as loader:
        batches, state = [], {}
        for number, batch in enumerate(loader):
            batches.append(batch)
            if number == 3:
                state = loader.state_dict()
    with made.loader(name, view="train", device="cuda") as loader:
        loader.load_state_dict(state)
        assert on_cpu(list(loader)).equals(on_cpu(batches[4:]))


def test_the_training_view_is_the_same_on_either_device(made: Set) -> None:
    """But for the rounding of interpolated values."""
    with made.loader("resident", view="train", device="cuda") as ours, made.loader("resident", view="train") as theirs:
        found, wanted = on_cpu(list(ours)), together(theirs)
    assert found.ids.tolist() == wanted.ids.tolist()
    assert abs(found.images.astype(int) - wanted.images).max() <= 1


@pytest.mark.parametrize("name", sorted(set(LOADERS) - set(ON_GPU)))
def test_loaders_of_the_cpu_copy_to_the_gpu(name: str, made: Set) -> None:
    with made.loader(name, device="cuda") as loader:
        assert all(batch.images.is_cuda for batch in loader)


def test_images_that_do_not_fit_are_refused(made: Set, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1000, 1000))
    with pytest.raises(UsageError, match="don't fit on the GPU"):
        made.loader("resident", device="cuda")
    assert made.loader("auto", device="cuda").name == "dali"
