"""Options that several verbs share, and how they warn."""

import argparse
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cxrbench.environment import usable_cores

if TYPE_CHECKING:
    import pandas as pd

    from cxrbench.dataset.splits import Split


IMAGES_HELP = "folders of PNGs, NIH's tar.gz archives, Kaggle's zip, or any mix"


# Short forms of settings that say which images are read, and how: setting, letter, meaning.
READING = {
    "split": ("data.split", "S", "official, patient, image, or a file with the columns name and part"),
    "loader": ("loader.name", "L", "auto, resident, dali, webdataset or folder"),
}
MAX_REPLICATES = 1_000_000  # of the bootstrap, which keeps a few figures of each

LABELS_HELP = "NIH's Data_Entry CSV, either version, gzipped or not"


METHODS = ("gradcam", "layercam")  # of maps: those of models/cam.py, which is slow to import


def add_network(parser: argparse.ArgumentParser) -> None:
    text = "a run's folder, or one of its .safetensors files"
    parser.add_argument("network", type=Path, metavar="RUN|CHECKPOINT", help=text)


def add_files(parser: argparse.ArgumentParser) -> None:
    text = "PNG or JPEG files, and folders of them, of any depth"
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help=text)


def add_scoring(parser: argparse.ArgumentParser) -> None:
    """How a network sees images of no data set."""
    parser.add_argument(
        "--view", choices=("center", "tencrop"), help="the centre, or the mean over ten crops (default: as in training)"
    )
    add_device(parser)
    parser.add_argument(
        "--batch",
        type=positive,
        metavar="N",
        help="images a step, the last one padded; 1 is quicker for a few images on a CPU, and changes the last bits "
        "of their scores (default: as in training)",
    )


def is_share(text: str) -> bool:
    try:
        return 0 < float(text) <= 1
    except ValueError:
        return False


def add_labels(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--labels", type=Path, required=True, metavar="CSV", help=LABELS_HELP)


def add_labels_or_data(parser: argparse.ArgumentParser) -> None:
    either = parser.add_mutually_exclusive_group(required=True)
    either.add_argument("--labels", type=Path, metavar="CSV", help=LABELS_HELP)
    either.add_argument("--data", type=Path, metavar="DIR", help="or a data set that cxrbench shard made")


def add_split(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--policy",
        default="official",
        metavar="POLICY|FILE",
        help="official (NIH's test patients; validation by patient from the rest), patient, image (leaks: "
        "one patient's images in several parts), or a split of your own: a CSV or parquet file with the columns "
        "name and part, or a folder with train_list.txt, val_list.txt and test_list.txt (default: official)",
    )
    parser.add_argument(
        "--fractions",
        metavar="A/B[/C]",
        help="shares that add up to 100 or 1: train/val/test (default 70/10/20), for official train/val (87.5/12.5)",
    )
    parser.add_argument("--seed", type=seed, default=0, help="default: 0")


def add_settings(parser: argparse.ArgumentParser, short: Mapping[str, tuple[str, str, str]], example: str) -> None:
    """Short forms, and --set for all others; `given_settings` reads them."""
    for name, (setting, letter, meaning) in short.items():
        parser.add_argument(f"--{name}", metavar=letter, help=f"{meaning} (--set {setting}=)")
    parser.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=f"any setting, as {example}"
    )


def given_settings(args: argparse.Namespace, short: Mapping[str, tuple[str, str, str]]) -> dict[str, Any]:
    """What was given; --set has the last word."""
    from cxrbench.config import assigned

    given = {setting: value for name, (setting, *_) in short.items() if (value := getattr(args, name)) is not None}
    return given | assigned(args.set)


def add_device(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", choices=("auto", "cpu", "cuda"), default="auto", help="auto: a GPU, if there is one"
    )


def add_loader_images(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=Path, nargs="+", default=[], metavar="PATH", help=f"for folder: {IMAGES_HELP}")


def add_workers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--workers",
        type=positive,
        default=usable_cores(),
        metavar="N",
        help="processes (default: one a core)",
    )


def positive(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1; got {text!r}")
    return int(text)


def replicates(text: str) -> int:
    if (found := positive(text)) > MAX_REPLICATES:
        raise argparse.ArgumentTypeError(f"must be at most {MAX_REPLICATES:,}; got {text!r}")
    return found


def seed(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text):
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 0; got {text!r}")
    return int(text)


def load_split(args: argparse.Namespace, table: "pd.DataFrame") -> "Split":
    """The split asked for; NIH's lists, where they lie beside the CSV, are checked against it."""
    from cxrbench.dataset.splits import check_official_lists, make_split

    if args.policy == "official" and args.labels:
        check_official_lists(table, args.labels.parent)
    return make_split(table, args.policy, args.fractions, args.seed)


def warn() -> None:
    """Our warnings, as our errors look."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("cxrbench: %(message)s"))
    log = logging.getLogger("cxrbench")
    log.handlers, log.propagate = [handler], False
