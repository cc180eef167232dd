"""What loaders are asked for wrongly, or given damaged, is one line; what they take, they give back."""

import gc
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import cxrbench
from cxrbench.config import ViewConfig
from cxrbench.dataset import cache
from cxrbench.dataset.manifest import read_samples
from cxrbench.errors import CxrError, DataError, UsageError
from cxrbench.loaders import registry
from cxrbench.loaders.registry import LOADERS
from tests.conftest import Run, write_png
from tests.loaders import NUM_IMAGES, SIZE_PX, VIEWS, Set, in_process, make_set, together

# webdataset leaves closing its tars, and DALI its sockets, to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]
MIB = 2**20


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, cli: Run) -> Path:
    out = tmp_path_factory.mktemp("source") / "phantoms"
    assert cli("synth", "--out", out, "--images", NUM_IMAGES + 2, "--size", 96, "--workers", 1).returncode == 0
    return out


@pytest.fixture(scope="module")
def kept(source: Path, cli: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Set]:
    base = tmp_path_factory.mktemp("sets")
    return {name: make_set(cli, source, base / name, name) for name in ("npy", "png")}


@pytest.fixture(params=["npy", "png"])
def made(request: pytest.FixtureRequest, kept: dict[str, Set], tmp_path: Path) -> Set:
    return copy_of(kept[request.param], tmp_path)


@pytest.fixture
def npy(kept: dict[str, Set], tmp_path: Path) -> Set:
    return copy_of(kept["npy"], tmp_path)


def copy_of(made: Set, folder: Path) -> Set:
    """To be damaged; without what other tests had cached."""
    shutil.copytree(made.folder, folder / "set", ignore=shutil.ignore_patterns(".cache"))
    return Set(folder / "set", made.source, made.split)


def refused(make: Any, *wanted: str, kind: type[CxrError] = CxrError) -> None:
    with pytest.raises(kind) as caught:
        make()
    assert "\n" not in str(caught.value)
    for words in wanted:
        assert words in str(caught.value)


@pytest.mark.parametrize("name", LOADERS)
def test_wrong_requests(name: str, npy: Set, monkeypatch: pytest.MonkeyPatch) -> None:
    in_process(monkeypatch)
    small = ViewConfig(resize=0, crop=80)
    refused(lambda: npy.loader(name, views=small), f"got {SIZE_PX}x{SIZE_PX}", "at least 80", "--set view.crop=64")
    refused(lambda: npy.loader(name, views=ViewConfig(resize=0, crop=16), view="train"), "--set view.resize=18")
    refused(lambda: npy.loader(name, part="train", world=2, rank=0), "more ranks than images; got 2 ranks, 1 images")
    refused(lambda: npy.loader(name, part="tests"), "unknown part", "train, val, test", kind=UsageError)
    refused(lambda: npy.loader(name, view="left"), "unknown view; got 'left'", "tencrop", kind=UsageError)
    refused(lambda: npy.loader(name, batch_size=0), "allowed: 1 to", kind=UsageError)
    refused(lambda: npy.loader(name, rank=2, world=2), "no such rank; got 2", kind=UsageError)
    refused(lambda: npy.loader(name, batch_size=8.0), "batch_size must be a whole number; got 8.0", kind=UsageError)
    refused(lambda: npy.loader(name, seed=-1), "seed must be a whole number; got -1", kind=UsageError)
    refused(lambda: npy.loader(name, rank=1), "rank and world belong together; got rank 1 of None", kind=UsageError)
    refused(lambda: npy.loader(name, views={"crop": 48}), "must be a cxrbench.config.ViewConfig", kind=UsageError)
    refused(lambda: npy.loader(name, threads=-1), "loader.threads must be at least 0", kind=UsageError)
    refused(lambda: npy.loader(name, device="tpu"), "unknown device", kind=UsageError)
    refused(lambda: npy.loader(name, device="mps"), "unknown device; got mps", kind=UsageError)
    if not torch.cuda.is_available():
        refused(lambda: npy.loader(name, device="cuda"), "no usable GPU", "cxrbench doctor", kind=UsageError)


def test_wrong_data(npy: Set, tmp_path: Path) -> None:
    refused(lambda: npy.loader("fast"), "unknown loader; got 'fast'", "auto, resident, dali")
    split = tmp_path / "other.csv"
    split.write_text("name,part\n00000001_999.png,test\n")
    refused(lambda: cxrbench.open(npy.folder, split=str(split)), "names images that the table lacks", kind=DataError)
    names = cxrbench.open(npy.folder, split="patient").opened.samples["name"].tolist()
    split.write_text(f"name,part\n{names[0]},test\n")
    empty = cxrbench.open(npy.folder, split=str(split))
    refused(lambda: empty.loader("val", device="cpu"), "no image in the part val", "allowed: test (1)")
    refused(lambda: cxrbench.open(tmp_path / "nowhere"), "no such folder", kind=DataError)
    refused(lambda: cxrbench.open(tmp_path), "not a finished data set", kind=DataError)
    refused(lambda: cxrbench.open(npy.folder, label_set="nih15"), "label_set", kind=UsageError)


@pytest.mark.parametrize("damage", ["cut", "missing", "foreign index", "stranger"])
def test_shards_are_verified_before_they_are_read(damage: str, made: Set) -> None:
    tars = sorted(made.folder.glob("*.tar"))
    if damage == "cut":
        tars[1].write_bytes(tars[1].read_bytes()[:-10240])
    elif damage == "missing":
        tars[1].unlink()
    elif damage == "foreign index":
        shutil.copy(tars[0].with_suffix(".idx"), tars[1].with_suffix(".idx"))
    else:
        (made.folder / "000099.tar").touch()
    refused(made.open, "is not what its manifest says", "0000", f"cxrbench verify {made.folder}", kind=DataError)


def flip_bits(made: Set) -> str:
    """In the middle of an image of the part test, sizes as they were; its name."""
    row = read_samples(made.folder).iloc[NUM_IMAGES // 2]
    tar = made.folder / f"{row['shard']:06d}.tar"
    data = bytearray(tar.read_bytes())
    data[row["offset"] + row["size"] // 2] ^= 0xFF
    tar.write_bytes(data)
    return str(row["name"])


# Of unencoded pixels DALI has no checksum: `cxrbench verify` tells.
CASES = [(name, encoding) for name in ("resident", "webdataset", "dali") for encoding in ("npy", "png")]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(("name", "encoding"), [case for case in CASES if case != ("dali", "npy")])
def test_damaged_pixels_are_named(
    name: str, encoding: str, workers: int, kept: dict[str, Set], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not workers:
        in_process(monkeypatch)
    made = copy_of(kept[encoding], tmp_path)
    bad = flip_bits(made)

    def read() -> None:
        with made.loader(name) as loader:
            together(loader)

    refused(read, f"{bad} in 0000", "is damaged", f"cxrbench verify {made.folder}", kind=DataError)


def test_folder_names_what_it_cannot_use(npy: Set, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_process(monkeypatch)
    refused(lambda: npy.loader("folder", images=()), "say where they are", kind=UsageError)
    (tmp_path / "images.tar.gz").touch()
    refused(lambda: npy.loader("folder", images=tmp_path / "images.tar.gz"), "tar.gz", kind=CxrError)
    images = tmp_path / "images"
    shutil.copytree(npy.source / "images", images)
    names = npy.open().opened.split.part("test")["name"].tolist()
    write_png(images / names[7], 5, 96)
    refused(
        lambda: together(npy.loader("folder", images=images)), names[7], "another image than the shards were made from"
    )
    (images / names[7]).unlink()
    refused(lambda: npy.loader("folder", images=images), f"1 missing, such as {names[7]}", kind=DataError)


def test_a_missing_package_is_named(npy: Set, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith(("nvidia.dali", "cxrbench.loaders.dali"))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    refused(lambda: npy.loader("dali"), "the loader dali lacks a package; got no nvidia.dali", "cxrbench doctor")


def fill_cache(made: Set) -> str:
    views = f"from cxrbench.config import ViewConfig\nviews = ViewConfig(resize={SIZE_PX}, crop=48)\n"
    opened = f"cxrbench.open({str(made.folder)!r}, split='patient')"
    return f"import cxrbench\n{views}{opened}.loader('train', device='cpu', views=views)\n"


class TestCache:
    """Of the loader resident."""

    def path(self, made: Set) -> Path:
        (found,) = (made.folder / cache.CACHE).glob("*.u8")
        return found

    def test_is_made_once_and_verify_lets_it_be(self, made: Set, cli: Run) -> None:
        first = together(made.loader("resident"))
        written = self.path(made).stat().st_mtime_ns
        assert together(made.loader("resident")).equals(first)
        assert self.path(made).stat().st_mtime_ns == written
        assert cli("verify", made.folder).returncode == 0

    @pytest.mark.parametrize("damage", ["cut", "zeros"])
    def test_is_made_anew_when_damaged(self, damage: str, npy: Set, caplog: pytest.LogCaptureFixture) -> None:
        first = together(npy.loader("resident"))
        path = self.path(npy)
        data = path.read_bytes()
        row = SIZE_PX * SIZE_PX
        path.write_bytes(data[:-100] if damage == "cut" else data[:row] + bytes(row) + data[2 * row :])
        assert together(npy.loader("resident")).equals(first)
        assert "is damaged and is made anew" in caplog.text
        assert path.read_bytes() == data

    def test_of_another_data_set_or_size_is_another(self, npy: Set, kept: dict[str, Set], monkeypatch: Any) -> None:
        together(npy.loader("resident"))
        together(npy.loader("resident", views=ViewConfig(resize=60, crop=48)))
        monkeypatch.setenv(cache.ELSEWHERE, str(npy.folder / cache.CACHE))
        together(kept["png"].loader("resident"))
        assert len(list((npy.folder / cache.CACHE).glob("*.u8"))) == 3

    def test_without_room_says_how_much_it_needs(self, npy: Set, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cache, "free_bytes", lambda _: 100)
        refused(lambda: npy.loader("resident"), "no room for the cache", "GiB", cache.ELSEWHERE, kind=DataError)

    def test_that_cannot_be_written_says_where_else_and_auto_goes_there(
        self, npy: Set, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(cache.ELSEWHERE, "/proc/nothing")
        refused(lambda: npy.loader("resident"), "cannot write the cache", cache.ELSEWHERE, kind=DataError)
        with npy.loader("auto") as loader:
            assert loader.name == "dali"

    def test_that_is_whole_serves_who_may_only_read(self, npy: Set, monkeypatch: pytest.MonkeyPatch) -> None:
        first = together(npy.loader("resident"))

        def refuse(*_: object, **__: object) -> None:
            raise OSError(30, "Read-only file system")

        monkeypatch.setattr(cache, "locked", refuse)
        assert together(npy.loader("resident")).equals(first)

    def test_is_not_blamed_for_a_shard_that_is_gone(self, npy: Set) -> None:
        data = npy.open()
        (npy.folder / "000001.tar").unlink()
        views = ViewConfig(resize=SIZE_PX, crop=48)
        refused(
            lambda: data.loader("test", loader="resident", device="cpu", views=views),
            "cannot read the shard",
            "000001.tar: No such file",
            kind=DataError,
        )

    def test_of_images_of_several_shapes_is_refused_and_auto_goes_elsewhere(
        self, tmp_path: Path, source: Path, cli: Run, caplog: pytest.LogCaptureFixture
    ) -> None:
        images = tmp_path / "phantoms"
        shutil.copytree(source, images)
        first = next((images / "images").iterdir())
        from PIL import Image

        with Image.open(first) as image:
            image.resize((140, 96)).save(first)
        mixed = make_set(cli, images, tmp_path / "mixed", "jpeg")
        refused(lambda: mixed.loader("resident"), "2 shapes, such as 64x64 and 93x64", kind=DataError)
        caplog.set_level("INFO", "cxrbench")
        with mixed.loader("auto") as loader:
            assert loader.name == "dali"
            assert len(together(loader).ids) == loader.num_samples
        assert "loader dali: images of several shapes" in caplog.text
        with (
            mixed.loader("dali", part="test", view="tencrop") as ours,
            mixed.loader("folder", view="tencrop") as theirs,
        ):
            found, wanted = together(ours).by_id(), together(theirs).by_id()
        assert np.abs(found.images.astype(int) - wanted.images).mean() < 2

    def test_killed_while_it_fills_leaves_nothing(self, npy: Set) -> None:
        killed = "cache.fill = lambda job: os.kill(os.getpid(), signal.SIGKILL)\n"
        script = f"import os, signal\nfrom cxrbench.dataset import cache\n{killed}{fill_cache(npy)}"
        done = subprocess.run([sys.executable, "-c", script], check=False, timeout=120)
        assert done.returncode == -signal.SIGKILL
        assert not list((npy.folder / cache.CACHE).glob("*.u8"))
        together(npy.loader("resident"))
        assert [path.suffix for path in sorted((npy.folder / cache.CACHE).iterdir())] == [".lock", ".u8"]

    def test_two_at_once_make_one(self, npy: Set) -> None:
        both = [subprocess.Popen([sys.executable, "-c", fill_cache(npy)]) for _ in range(2)]
        assert [each.wait(120) for each in both] == [0, 0]
        assert len(list((npy.folder / cache.CACHE).iterdir())) == 2


def test_auto_says_what_it_chose_and_why(
    npy: Set, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO", "cxrbench")
    assert npy.loader("auto").name == "resident"
    assert f"loader resident: {NUM_IMAGES + 2} images fit" in caplog.text
    monkeypatch.setattr("cxrbench.loaders.resident.total_memory_bytes", lambda: 1000)
    assert npy.loader("auto").name == "dali"
    assert "loader dali: the images are" in caplog.text
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda _: None)
    assert npy.loader("auto").name == "webdataset"
    assert "DALI is not installed" in caplog.text


def in_use() -> Counter[str]:
    """What a process holds, each thing by a name."""
    handles = [path.readlink().name for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    held = [re.sub(r"\d+", "N", name) for name in handles]
    held += [f"child {child.pid}" for child in multiprocessing.active_children()]
    held += [f"thread {thread.name}" for thread in threading.enumerate()]
    held += ["system thread" for _ in Path("/proc/self/task").iterdir()]
    held += [path.name for path in Path(tempfile.gettempdir()).glob("cxrbench-*")]
    return Counter(held)


@pytest.mark.slow
@pytest.mark.parametrize("name", LOADERS)
def test_closing_early_leaves_no_process_thread_or_file(name: str, kept: dict[str, Set]) -> None:
    """With real worker processes, in the middle of an epoch; the first round is to load libraries."""

    def use() -> None:
        with kept["png"].loader(name, view="train") as loader:
            for number, _ in enumerate(loader):
                if number == 1:
                    break

    use()
    before = in_use()
    use()
    deadline = time.monotonic() + 20
    while in_use() - before and time.monotonic() < deadline:
        time.sleep(0.2)  # processes need a moment to end
    assert not in_use() - before


@pytest.mark.slow
@pytest.mark.parametrize("view", ["train", "tencrop"])
@pytest.mark.parametrize("name", LOADERS)
def test_memory_stays_flat_over_epochs(
    name: str, view: str, kept: dict[str, Set], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_process(monkeypatch)

    def resident_mib() -> float:
        gc.collect()
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / MIB

    with kept["png"].loader(name, view=view, views=VIEWS) as loader:
        used = []
        for _ in range(8):
            for _ in loader:
                pass
            used.append(resident_mib())
    assert max(used[3:]) - used[2] < 8, used


@pytest.mark.parametrize("name", LOADERS)
def test_batches_keep_their_pixels(name: str, kept: dict[str, Set], monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is used again only once nobody holds it."""
    in_process(monkeypatch)
    with kept["npy"].loader(name) as loader:
        one_by_one = together(loader)
        assert together(list(loader)).equals(one_by_one)


@pytest.mark.parametrize("name", LOADERS)
def test_a_closed_loader_and_an_old_iteration_say_so(
    name: str, kept: dict[str, Set], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that had not begun: it would take the newer one's images."""
    in_process(monkeypatch)
    loader = kept["png"].loader(name)
    started, waiting = iter(loader), iter(loader)
    refused(lambda: next(started), "this iteration is over", kind=UsageError)
    next(waiting)
    newest = iter(loader)
    first = together([next(newest)])
    refused(lambda: next(waiting), "this iteration is over", kind=UsageError)
    with kept["png"].loader(name) as other:
        expected = [together([batch]) for batch in other]
    rest = [together([batch]) for batch in newest]
    assert all(one.equals(two) for one, two in zip([first, *rest], expected, strict=True))
    loader.close()
    loader.close()
    for use in (lambda: iter(loader), loader.state_dict, lambda: loader.load_state_dict({})):
        refused(use, "the loader is closed", kind=UsageError)


@pytest.mark.parametrize("name", LOADERS)
def test_who_counts_batches_gets_another_order_each_epoch(
    name: str, kept: dict[str, Set], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As zip and islice do, which never ask for the end."""
    in_process(monkeypatch)
    with kept["npy"].loader(name, view="train") as loader, kept["npy"].loader(name, view="train") as other:
        counted = [together(islice(loader, len(loader))) for _ in range(3)]
        whole = [together(other) for _ in range(3)]
    assert all(one.equals(two) for one, two in zip(counted, whole, strict=True))


@pytest.mark.parametrize("name", ["dali", "webdataset", "resident", "folder"])
def test_a_position_can_be_saved_after_a_failure(
    name: str, kept: dict[str, Set], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_process(monkeypatch)
    made = kept["png"]
    with made.loader(name) as loader:
        batches = [together([batch]) for batch in loader]
    with made.loader(name) as loader:
        iteration = iter(loader)
        for _ in range(3):
            next(iteration)
        if name == "dali":
            loader._feed.end()  # as after an error of DALI's
        state = loader.state_dict()
    with made.loader(name) as loader:
        loader.load_state_dict(state)
        rest = [together([batch]) for batch in loader]
    assert all(one.equals(two) for one, two in zip(rest, batches[3:], strict=True))


def test_a_state_that_is_none_is_refused(npy: Set) -> None:
    with npy.loader("resident") as loader:
        state = loader.state_dict()
        for wrong in ({}, None, {**state, "epoch": "x"}):
            refused(lambda wrong=wrong: loader.load_state_dict(wrong), "not a loader's state", kind=UsageError)
        refused(lambda: loader.load_state_dict({**state, "batch": 999}), "no such position", kind=UsageError)
        for wrong_epoch in ("a", -1, 1.5):
            refused(lambda epoch=wrong_epoch: loader.set_epoch(epoch), "epoch must be a whole number", kind=UsageError)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["webdataset", "folder"])
def test_with_worker_processes_it_is_the_same(name: str, kept: dict[str, Set]) -> None:
    """Every image once, the same order twice, and resumed in the middle; another number of workers is refused."""
    made = kept["png"]
    with made.loader(name) as loader:
        assert sorted(together(loader).ids.tolist()) == sorted(made.open().opened.ids[2:].tolist())
    with made.loader(name, view="train", world=2, rank=1) as loader:
        first = together(loader)
        batches, states = [], []
        for batch in loader:
            batches.append(together([batch]))
            states.append(loader.state_dict())
    with made.loader(name, view="train", world=2, rank=1) as loader:
        assert together(loader).equals(first)
    with made.loader(name, view="train", world=2, rank=1) as loader:
        loader.load_state_dict(states[2])
        rest = [together([batch]) for batch in loader]
        assert all(one.equals(two) for one, two in zip(rest, batches[3:], strict=True))
    if name == "webdataset":
        with made.loader(name, view="train", world=2, rank=1, threads=1) as loader:
            refused(lambda: loader.load_state_dict(states[2]), "threads differs; got 2; allowed: 1", kind=UsageError)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", ["webdataset", "folder"])
def test_a_killed_worker_is_told_and_the_loader_goes_on(name: str, kept: dict[str, Set]) -> None:
    with kept["png"].loader(name, batch_size=4) as loader:
        iteration = iter(loader)
        next(iteration)
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)
        refused(lambda: list(iteration), "a worker process was killed, or failed")
        assert len(together(loader).ids) == NUM_IMAGES


RANKED = """
import os, sys, torch, cxrbench
torch.distributed.init_process_group("gloo")
data = cxrbench.open(sys.argv[1], split=sys.argv[2])
views = cxrbench.config.ViewConfig(resize=64, crop=int(sys.argv[4]))
loader = data.loader("test", 8, loader=sys.argv[3], device="cpu", views=views, threads=1, images=sys.argv[5])
ids = [i for batch in loader for i in batch.ids[batch.valid].tolist()]
every = [None] * torch.distributed.get_world_size()
torch.distributed.all_gather_object(every, ids)
seen = [i for part in every for i in part]
if torch.distributed.get_rank() == 0:
    print(len(seen), len(set(seen)), len(loader))
torch.distributed.destroy_process_group()
"""


def torchrun(script: Path, *args: object) -> subprocess.CompletedProcess[str]:
    script.write_text("import cxrbench.config\n" + RANKED)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    return subprocess.run([*command, *map(str, args)], capture_output=True, text=True, timeout=180, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", LOADERS)
def test_two_real_ranks_share_the_images(name: str, kept: dict[str, Set], tmp_path: Path) -> None:
    made = kept["png"]
    done = torchrun(tmp_path / "run.py", made.folder, made.split, name, 48, made.source)
    assert done.stdout.split() == [str(NUM_IMAGES), str(NUM_IMAGES), "9"], done.stderr


@pytest.mark.slow
def test_every_rank_ends_with_the_error(kept: dict[str, Set], tmp_path: Path) -> None:
    made = kept["png"]
    done = torchrun(tmp_path / "run.py", made.folder, made.split, "dali", 80, made.source)
    assert done.returncode != 0
    assert done.stderr.count("ConfigError: view.crop must be at most view.resize, 64; got 80") == 2
