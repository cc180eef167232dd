"""What the steps of `scripts/bench` share: phantoms, shards of the small ones, and a run trained on them.

    python -m benchmarks.prepare --work DIR [--images 6000]

What lies there already stays as it is.
"""

import argparse
from pathlib import Path

from cxrbench.benching.samples import convert, phantoms
from cxrbench.cli import main as cxrbench
from cxrbench.environment import usable_cores

SIZE_PX = 128
LIKE_NIH = 64, 1024  # to stand beside real images
SMALL = ("view.resize=72", "view.crop=64", "train.epochs=1", "train.batch=32")


def prepare(work: Path, num_images: int) -> None:
    phantoms(work, *LIKE_NIH, usable_cores())
    source = phantoms(work, num_images, SIZE_PX, usable_cores())
    shards = convert(source, work / "shards", "npy", SIZE_PX, usable_cores())
    run = work / "run"
    if not (run / "metrics.json").exists():
        network = ("--arch", "test_resnet", "--weights", "none", "--device", "cpu", "--set", *SMALL)
        if code := cxrbench(["train", "--data", str(shards), "--out", str(run), *network]):
            raise SystemExit(code)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, metavar="DIR")
    parser.add_argument("--images", type=int, default=6000)
    args = parser.parse_args()
    prepare(args.work, args.images)


if __name__ == "__main__":
    main()
