"""The comparison with other loaders must notice a loader that is fast because it leaves something out."""

import argparse
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import loader_rates
from benchmarks.loader_rates import PEERS
from benchmarks.peers import apart, cases, driver
from benchmarks.peers.apart import OURS, folder_of

FOLDER = Path(driver.__file__).parent
ADAPTERS = sorted(FOLDER.glob("*/*.py"))
IMAGES = np.random.default_rng(0).integers(0, 256, (12, 256, 256), np.uint8)
CROPS = IMAGES[:, 16:240, 16:240]
ADAPTER = """
import numpy as np

def prepare(way, source, work):
    if way == "unready":
        raise SystemExit("no room")
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

def batches(way, work, batch_size, threads):
    images = np.load(work / "images.npy")
    return Batches(images ^ 1 if way == "altered" else images, batch_size, way)
"""


@pytest.fixture
def adapter(tmp_path):
    folder = make_peer(tmp_path, "peer")
    np.save(tmp_path / "source.npy", IMAGES)
    np.save(tmp_path / "sums.npy", np.sort(driver.pixel_sums(CROPS)))
    (tmp_path / "work").mkdir()
    drive(tmp_path, "prepare", folder, "small", tmp_path / "source.npy", tmp_path / "work")
    return folder


def make_peer(root, name):
    folder = root / name
    folder.mkdir()
    (folder / "small.py").write_text(ADAPTER)
    (folder / "requirements.txt").write_text("numpy>=2.0\n")
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


def test_every_peer_that_is_named_has_an_adapter_and_every_adapter_is_named():
    named = {(folder_of(peer), case) for case, peers in PEERS.items() for peer in peers}
    assert named == {(path.parent.name, path.stem) for path in ADAPTERS if path.stem in PEERS}


def test_every_peer_names_the_release_it_was_tried_with():
    required = {path.parent.name: path.read_text() for path in FOLDER.glob("*/requirements.txt")}
    assert set(required) == {folder_of(peer) for peers in PEERS.values() for peer in peers} - {OURS}
    lines = [line for text in required.values() for line in text.splitlines() if not line.startswith("#")]
    assert [line for line in lines if "==" not in line] == []


def test_all_peers_use_the_torch_that_ours_does():
    lines = {line for path in FOLDER.glob("*/requirements.txt") for line in path.read_text().splitlines()}
    (torch,) = (line for line in lines if line.startswith("torch=="))
    assert torch in (FOLDER.parents[1] / "constraints.txt").read_text().splitlines()


@pytest.mark.parametrize("path", ADAPTERS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_an_adapter_is_thin(path):
    assert len(path.read_text().splitlines()) < 60


@pytest.fixture
def peers(tmp_path, monkeypatch):
    """The environments' folder; two peers are in this interpreter's, beside one that could not be installed."""
    adapters, environments = tmp_path / "adapters", tmp_path / "environments"
    adapters.mkdir()
    (adapters / "driver.py").symlink_to(FOLDER / "driver.py")
    for name in ("ours", "fair", "cheat", "broken", "absent"):
        make_peer(adapters, name)
        if name not in ("ours", "absent"):
            make_environment(environments / name, adapters / name)
    (environments / "broken" / "failed").write_text("error: no such release\n")
    monkeypatch.setattr(apart, "ADAPTERS", adapters)
    named = {
        "small": ("ours/a", "fair/a", "fair/b", "cheat/later", "cheat/altered", "cheat/unready", "broken", "absent")
    }
    monkeypatch.setattr(loader_rates, "PEERS", named)
    monkeypatch.setattr(loader_rates, "TARGETS", {"small ours/a over fair/b": 0.01})
    monkeypatch.setattr(loader_rates, "make_case", make_small)
    return environments


def make_environment(folder, adapter):
    """A link to the interpreter would not be in its environment."""
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    shutil.copy(adapter / "requirements.txt", folder / "installed")


def make_small(name, work, _drawn, _images):
    np.save(work / "source.npy", IMAGES)
    return cases.expected(name, work, work / "source.npy", CROPS)


def asked(peers, **changed):
    settings = {"cases": ["small"], "only": None, "drawn": 1, "small_images": 12, "threads": 1, "repeats": 2}
    return argparse.Namespace(**(settings | {"seconds": 0.01, "peers": peers} | changed))


def test_a_record_has_who_was_fair_and_lists_everybody_else_with_the_reason(peers, tmp_path):
    record = loader_rates.run(tmp_path, asked(peers))
    rows = {row["case"]["peer"]: row for row in record["rows"]}
    assert set(rows) == {"ours/a", "fair/a", "fair/b"}
    fair = rows["fair/a"]
    assert fair["case"] == {"case": "small", "peer": "fair/a"}
    for figure in ("images_per_s", "first_batch_s", "cpu_ms_per_image"):
        assert len(fair[figure]["turns"]) == 2
        assert fair[figure]["low"] <= fair[figure]["median"] <= fair[figure]["high"]
    assert (fair["exact"], fair["deviation"], fair["packages"]) == (True, 0, {"numpy": np.__version__})
    assert record["skipped"] == {
        "small broken": "not installed: error: no such release",
        "small absent": f"{peers / 'absent'} has not what it requires; scripts/peers --only absent",
    }
    assert list(record["problems"]) == ["small cheat/later", "small cheat/altered", "small cheat/unready"]
    assert "epoch 1" in record["problems"]["small cheat/later"]
    assert record["problems"]["small cheat/unready"] == "no room"
    assert "other pixels" in record["problems"]["small cheat/altered"]
    best = f"small ours/a over {loader_rates.BEST}"
    assert set(loader_rates.ratios(record["rows"])) == {"small ours/a over fair/a", "small ours/a over fair/b", best}


def row(peer, rate):
    return {"case": {"case": "small", "peer": peer}, "images_per_s": {"median": rate}}


def test_ratios_are_of_our_best_and_of_what_has_a_target():
    rows = [row("ours/resident-npy", 90), row("ours/dali-npy", 30), row("dali/words", 10), row("ffcv", 60)]
    assert loader_rates.ratios(rows) == {
        f"small ours/resident-npy over {loader_rates.BEST}": 1.5,
        f"small ours/dali-npy over {loader_rates.BEST}": 0.5,
        "small ours/resident-npy over ours/dali-npy": 3,
        "small ours/resident-npy over dali/words": 9,
        "small ours/resident-npy over ffcv": 1.5,
        "small ours/dali-npy over dali/words": 3,
    }
    assert loader_rates.ratios(rows[2:]) == {}


def test_the_table_shows_versions_and_reasons(peers, tmp_path):
    record = loader_rates.run(tmp_path, asked(peers, only=["fair/a", "broken", "ours"], repeats=1))
    text = "\n".join(loader_rates.table(record))
    assert f"numpy {np.__version__}" in text
    assert "skipped: small broken: not installed: error: no such release" in text
    assert "small ours/a over fair/a" in text


def test_an_environment_of_older_requirements_is_not_used(peers):
    assert apart.why_missing("fair/a", peers) is None
    (apart.ADAPTERS / "fair" / "requirements.txt").write_text("numpy>=99\n")
    assert "scripts/peers --only fair" in apart.why_missing("fair/a", peers)


UV = """#!/bin/sh
if [ "$1" = pip ]; then
  echo "error: Failed to build \\`opencv\\`" >&2
  echo "  cause: no compiler" >&2
  echo "hint: read on" >&2
  exit 1
fi
"""


def test_the_script_leaves_the_reason_of_a_failed_install_until_it_succeeds(tmp_path):
    (tmp_path / "bin").mkdir()
    uv = tmp_path / "bin" / "uv"
    uv.write_text(UV)
    uv.chmod(0o755)
    failing = run_script(tmp_path, "--only", "opencv")
    assert (failing.returncode, "failed: opencv" in failing.stderr, "hint" in failing.stderr) == (1, True, True)
    assert apart.why_missing("opencv", tmp_path) == "not installed: error: Failed to build `opencv` cause: no compiler"
    uv.write_text("#!/bin/sh\n")
    assert run_script(tmp_path, "--only", "opencv").returncode == 0
    assert apart.why_missing("opencv", tmp_path) is None


def run_script(peers, *args):
    environment = os.environ | {"PEERS": str(peers), "PATH": f"{peers / 'bin'}:{os.environ['PATH']}"}
    script = FOLDER.parents[1] / "scripts" / "peers"
    return subprocess.run([script, *args], env=environment, capture_output=True, text=True, check=False)


def test_the_script_refuses_what_it_does_not_know(tmp_path):
    wrong = run_script(tmp_path, "--all")
    assert (wrong.returncode, "usage" in wrong.stderr) == (2, True)
    unknown = run_script(tmp_path, "--only", "nobody")
    assert (unknown.returncode, "nobody" in unknown.stderr) == (1, True)
