"""The comparison with other loaders must notice a loader that is fast because it leaves something out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers import driver

FOLDER = Path(driver.__file__).parent
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 256, 256), np.uint8)
CROPS = IMAGES[:, 16:240, 16:240]
ADAPTER = """
import numpy as np

def prepare(case, source, work):
    np.save(work / "images.npy", np.load(source))

class Batches:
    def __init__(self, images, batch_size, way):
        self.images, self.batch_size, self.way, self.epoch = images, batch_size, way, 0

    def __iter__(self):
        self.epoch += 1
        order = np.random.permutation(len(self.images))
        if self.way == "short":
            order = order[1:]
        if self.way == "later" and self.epoch > 1:
            order[0] = order[1]
        for start in range(0, len(order), self.batch_size):
            yield self.images[order[start : start + self.batch_size], 16:240, 16:240]

    def close(self):
        print("closed")

def batches(case, work, batch_size, threads):
    return Batches(np.load(work / "images.npy"), batch_size, case.partition("/")[2])
"""


@pytest.fixture
def adapter(tmp_path):
    folder = tmp_path / "peer"
    folder.mkdir()
    (folder / "adapter.py").write_text(ADAPTER)
    np.save(tmp_path / "source.npy", IMAGES)
    np.save(tmp_path / "sums.npy", np.sort(driver.pixel_sums(CROPS)))
    (tmp_path / "work").mkdir()
    drive(tmp_path, "prepare", folder, "small", tmp_path / "source.npy", tmp_path / "work")
    return folder


def drive(cwd, *args):
    command = [sys.executable, "-P", FOLDER / "driver.py", *args]
    return subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False)


def drive_time(adapter, case):
    options = ("--batch-size", 5, "--threads", 1, "--seconds", 0.01)
    root = adapter.parent
    return drive(root, "time", adapter, case, root / "work", "--expected", root / "sums.npy", *options)


def test_a_whole_epoch_is_timed_and_agrees(adapter):
    done = drive_time(adapter, "small")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["deviation"], told["word_sum"]) == (0, driver.word_sum(CROPS))
    assert told["images_per_s"] > 0
    assert told["first_batch_s"] > 0
    assert "closed" in done.stdout


@pytest.mark.parametrize(("way", "message"), [("short", "11 images in an epoch instead of 12"), ("later", "epoch 1")])
def test_a_loader_that_leaves_something_out_is_refused(adapter, way, message):
    done = drive_time(adapter, f"small/{way}")
    assert done.returncode == 1
    assert message in done.stderr


def test_both_ways_to_add_up_agree():
    assert driver.word_sum(CROPS) == driver.word_sum(np.ascontiguousarray(CROPS))


def test_the_sum_sees_every_pixel():
    for place in ((0, 0, 0), (5, 100, 77), (11, 223, 223)):
        changed = CROPS.copy()
        changed[place] ^= 1
        assert driver.word_sum(changed) != driver.word_sum(CROPS)


def test_deviation_is_in_levels_and_ignores_the_order():
    sums = driver.pixel_sums(CROPS)
    assert driver.deviation(sums[::-1], np.sort(sums)) == 0
    assert driver.deviation(sums + 224**2, np.sort(sums)) == 1


@pytest.mark.parametrize("batch", [np.zeros((2, 224, 224), np.float32), np.zeros((2, 256, 256), np.uint8)])
def test_other_batches_are_refused(batch):
    with pytest.raises(SystemExit, match="not uint8"):
        driver.as_array(batch)


def test_every_peer_has_an_adapter_and_requirements():
    rates = pytest.importorskip(
        "benchmarks.loader_rates", reason="needs benchmarks/requirements.txt", exc_type=ImportError
    )
    named = {name.partition("/")[0] for names in rates.PEERS.values() for name in names}
    assert named == {path.parent.name for path in FOLDER.glob("*/adapter.py")}
    assert named - {rates.OURS} == {path.parent.name for path in FOLDER.glob("*/requirements.txt")}


def test_the_script_refuses_what_it_does_not_know(tmp_path):
    script = FOLDER.parents[1] / "scripts" / "peers"
    environment = os.environ | {"PEERS": str(tmp_path)}
    wrong = subprocess.run([script, "--all"], env=environment, capture_output=True, text=True, check=False)
    assert (wrong.returncode, "usage" in wrong.stderr) == (2, True)
    unknown = subprocess.run([script, "--only", "nobody"], env=environment, capture_output=True, text=True, check=False)
    assert (unknown.returncode, "nobody" in unknown.stderr) == (1, True)
