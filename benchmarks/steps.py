"""The steps of `scripts/bench`: every benchmark there is. To add one: a row below, and its table in tables.py.

Each prints its result as JSON, or writes it to {result}. {work} is a folder that the steps share; {real} and {peers}
lie outside the checkout, and a step that wants one is left out where it is not there.
"""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from benchmarks.gpu.runner import ROOT, Step
from cxrbench.commands.shard import ENCODING_NAMES

PREPARED = ("prepare",)
REAL, PEERS, RESULT = "{real}", "{peers}", "{result}"


def module(name: str, *options: str) -> tuple[str, ...]:
    return ("-m", f"benchmarks.{name}", *options)


def bench(name: str, *options: str) -> tuple[str, ...]:
    return ("-m", "cxrbench", "bench", name, *options, "--json")


def cases(*options: str) -> tuple[str, ...]:
    return ("-m", "pytest", "benchmarks", "-n", "0", "-p", "no:cacheprovider", "--benchmark-json", RESULT, *options)


WORK = ("--work", "{work}")
DATA = ("--data", "{work}/shards")
DRAWN = "{work}/phantoms-6000-128"
PREDICT = ("--run", "{work}/run", *DATA, "--images", f"{DRAWN}/images")
BESIDE = ("--images", f"{REAL}/images", "--beside", "{work}/phantoms-64-1024/images")
SIZES = ("--sizes", "256", "512", "source")
EVERY_ENCODING = ("--loaders", "dali", "--views", "center", *SIZES, "--encodings", *ENCODING_NAMES)
SHARDED = ("--images", "6000", "--repeats", "2", "--json")
NETWORKS = ("--archs", "densenet121", "resnet50", "--modes", "train", "eval", "--batches", "16")
SEEN_SMALL = ("view.resize=72", "view.crop=64", "train.batch=32")  # by a network that a CPU can train
STALLED = ("--arch", "resnet18", "--set", *SEEN_SMALL)
# Name, what Python runs, minutes at most, exit codes that are no failure, steps it needs; what others need first.
STEPS = (
    Step("prepare", module("prepare", *WORK), 15),
    Step("cases", cases(), 15),
    Step("data-layer", module("data_layer"), 5),
    Step("encodings", bench("encodings", *WORK), 20),
    Step("encodings-real", bench("encodings", *WORK, *BESIDE), 40, needs=PREPARED),
    Step("loaders", bench("loaders", *WORK), 40),
    Step("loaders-encodings", bench("loaders", *WORK, *EVERY_ENCODING), 30),
    Step("peers", module("loader_rates", "--peers", PEERS), 120),
    Step("phantoms", module("phantom_like_nih", "--real", f"{REAL}/images", "--json"), 10),
    Step("predict", module("predict_rates", *PREDICT), 10, needs=PREPARED),
    Step("resident-start", module("resident_start", "--data", "{work}/resident", "--json"), 20),
    Step("scaling", module("scaling", "--out", RESULT), 40),
    Step("scoring", module("scoring_rates"), 15),
    Step("shard", bench("shard", *WORK), 20),
    Step("shard-rates", module("shard_rates", *SHARDED), 20),
    Step("stall", bench("stall", *WORK, "--loader", "dali", *STALLED), 30),
    Step("stall-npy", bench("stall", *DATA, "--loader", "resident", *STALLED), 30, needs=PREPARED),
    Step("train", bench("train", *NETWORKS), 30),
    Step("training-head", module("training_rates", "head", *DATA), 20, needs=PREPARED),
    Step(
        "training-learn", module("training_rates", "learn", *DATA, "--truth", f"{DRAWN}/truth.json"), 20, needs=PREPARED
    ),
    Step("training-loop", module("training_rates", "loop"), 20),
)
FEW = (*WORK, "--phantoms", "256", "--phantom-size", "256")
ONCE = ("--turns", "1", "--seconds", "0.1")
TINY = ("--archs", "test_resnet", "--batches", "8", "--crop", "64", "--modes", "train", "eval")
SEEN = ("--set", "view.resize=72", "view.crop=64", "train.batch=8")
QUICK = (
    Step("cases", cases("--benchmark-max-time", "0.05", "--benchmark-min-rounds", "1"), 4),
    Step("encodings", bench("encodings", *FEW, "--sizes", "256", "--limit", "8", *ONCE), 3),
    Step("loaders", bench("loaders", *FEW, "--loaders", "resident", "dali", "--encodings", "npy", "png", *ONCE), 3),
    Step("prepare", module("prepare", *WORK, "--images", "200"), 3),
    Step("shard", bench("shard", *FEW, "--sizes", "128", "--workers", "1", *ONCE), 3),
    Step("stall", bench("stall", *DATA, "--no-cures", "--arch", "test_resnet", *ONCE, *SEEN), 3, needs=PREPARED),
    Step("train", bench("train", *TINY, *ONCE), 3),
)


class Outside(NamedTuple):
    path: Path
    otherwise: str


def outside() -> Mapping[str, Outside]:
    sample = os.environ.get("CXRBENCH_NIH_SAMPLE", "")
    peers = Path(os.environ.get("PEERS", ROOT / ".peers"))
    return {
        REAL: Outside(Path(sample or os.devnull), "real images: CXRBENCH_NIH_SAMPLE names no folder of them"),
        PEERS: Outside(peers, f"other people's loaders: there is no {peers}; scripts/peers makes it"),
    }


def missing(step: Step) -> str:
    """What the step wants and this machine has not."""
    wanted = [each for name, each in outside().items() if any(name in word for word in step.argv)]
    return "; ".join(each.otherwise for each in wanted if not each.path.is_dir())


def placed(step: Step, results: Path) -> Step:
    """With the paths that hold on this machine; {work} is the runner's to fill in."""
    paths = {RESULT: results / f"{step.name}.json"} | {name: each.path for name, each in outside().items()}
    argv = list(step.argv)
    for name, path in paths.items():
        argv = [word.replace(name, str(path.absolute())) for word in argv]
    return replace(step, argv=tuple(argv))
