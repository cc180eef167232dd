"""How fast are image files scored, beside the same images through an evaluation loader?

    python -m benchmarks.predict_rates --run RUN --data DIR --images FOLDER [--repeats 3]

RUN was trained on DIR, whose source PNGs lie in FOLDER (`cxrbench synth`, `shard`, `train --arch test_resnet`). The
network is the same for all; in turn, without the time to load it. Run on an idle machine.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import torch

from cxrbench.build import Setting, open_for
from cxrbench.config import override
from cxrbench.engine.distributed import alone
from cxrbench.engine.memory import keep_freed_memory
from cxrbench.engine.record import Record
from cxrbench.engine.signals import Watch
from cxrbench.environment import environment, usable_cores
from cxrbench.evaluating import predict as evaluate
from cxrbench.predicting import Order, predict
from cxrbench.saved import Saved, find, load

CPU = torch.device("cpu")
PART = "train"  # the largest


def of_files(saved: Saved, paths: list[Path], view: str) -> Callable[[], int]:
    def work() -> int:
        order = Order(view, saved.config.eval.batch, usable_cores(), CPU)
        with closing(predict(saved, paths, order)) as batches:
            return sum(len(each.names) for each in batches)

    return work


def of_loader(saved: Saved, data: Path, images: Path, loader: str) -> Callable[[], int]:
    config = override(saved.config, {"loader.name": loader, "loader.threads": usable_cores()})
    world = alone(CPU)
    setting = Setting(open_for(config, data), (images,), world, Watch(world), Record(None))
    model = load(saved, CPU)
    return lambda: len(evaluate(config, setting, model, PART).names)


def timed(work: Callable[[], int]) -> float:
    """Images a second."""
    start = time.perf_counter()
    return work() / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("--run", "--data", "--images"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    keep_freed_memory()
    (saved,) = find(args.run)
    data = open_for(saved.config, args.data)
    names = data.opened.split.part(PART)["name"]
    works = {
        "predict": of_files(saved, [args.images / name for name in names], saved.config.eval.view),
        "folder": of_loader(saved, args.data, args.images, "folder"),
        "resident": of_loader(saved, args.data, args.images, "resident"),
    }
    for work in works.values():
        work()
    turns = [{name: timed(work) for name, work in works.items()} for _ in range(args.repeats)]
    rates = {name: statistics.median(turn[name] for turn in turns) for name in works}
    ratios = {name: statistics.median(turn["predict"] / turn[name] for turn in turns) for name in works}
    found: dict[str, Any] = {"images": len(names), "images_per_s": rates, "predict_to": ratios, "turns": turns}
    print(json.dumps({**found, "environment": environment()}, indent=2))


if __name__ == "__main__":
    main()
