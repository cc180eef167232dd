"""A network's maps against NIH's boxes (BBox_List_2017.csv), beside maps that know nothing of the image.

Boxes are drawn about the regions of a map over a threshold, which is chosen on the other half of the patients, and
compared with those given (Wang et al. 2017, section 4). Random maps, the centre, the usual place of a finding, and the
same network with its weights shuffled go the same way. The result goes to RUN/eval, or to --out. docs/explain.md says
more. For research, not for diagnosis.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from cxrbench.commands.options import METHODS, add_device, add_network, is_share, positive, replicates, seed, warn
from cxrbench.commands.predict import the_one


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_network(parser)
    parser.add_argument("--boxes", type=Path, required=True, metavar="CSV", help="NIH's BBox_List_2017.csv")
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="a data set that cxrbench shard made")
    parser.add_argument(
        "--method", choices=METHODS, default=METHODS[0], help=f"how maps are made (default: {METHODS[0]})"
    )
    parser.add_argument(
        "--view",
        choices=("center", "tencrop"),
        help="where the network looks (default: tencrop where images are larger than the crop, to see their borders)",
    )
    parser.add_argument(
        "--threshold",
        type=share,
        metavar="X",
        help="share of a map's maximum from which on a region counts (default: chosen, on the other half)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="JSON (default: RUN/eval/localization-VIEW-METHOD.json)"
    )
    add_device(parser)
    parser.add_argument("--batch", type=positive, default=32, metavar="N", help="images a step (default: 32)")
    parser.add_argument(
        "--replicates", type=replicates, default=2000, metavar="N", help="draws of patients (default: 2000)"
    )
    parser.add_argument(
        "--seed", type=seed, default=0, metavar="S", help="of the draws, the halves and the controls (default: 0)"
    )
    parser.add_argument("--json", action="store_true", help="the whole result")


def share(text: str) -> float:
    if not is_share(text):
        raise argparse.ArgumentTypeError(f"must be above 0 and at most 1; got {text!r}")
    return float(text)


def run(args: argparse.Namespace) -> int:
    warn()
    from tqdm import tqdm

    from cxrbench.localizing.localize import localize
    from cxrbench.localizing.scene import Order
    from cxrbench.saved import find

    saved = the_one(find(args.network), args.network)
    same = ("data", "boxes", "view", "method", "device", "batch", "threshold", "out", "replicates", "seed")
    order = Order(**{name: getattr(args, name) for name in same})
    say = (lambda _: None) if args.json else tqdm.write
    with tqdm(disable=None, leave=False, unit="image") as bar:

        def advance(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        found, out = localize(saved, order, say, advance)
    print(json.dumps(found, indent=2, allow_nan=False) if args.json else "\n".join([*text_of(found), "", f"in {out}"]))
    return 0


# Columns of the tables: heading, figure, overlap.
SHOWN = (
    ("pointing", "pointing", None),
    ("mean IoU", "mean_iou", None),
    *((f"IoBB {at}", "accuracy_iobb", at) for at in ("0.1", "0.25", "0.5")),
    *((f"IoU {at}", "accuracy_iou", at) for at in ("0.1", "0.3", "0.5")),
    ("false", "false_positives_iobb", "0.25"),
    ("empty", "empty", None),
)
SPAN = 27  # of a figure with its interval
BESIDE = (SHOWN[0], SHOWN[1], SHOWN[3], SHOWN[6])


def text_of(found: dict[str, Any]) -> list[str]:
    from cxrbench.localizing.result import doubts
    from cxrbench.metrics.text import RESEARCH

    lines = [*findings_text(found), "", *controls_text(found), "", *verdict_text(found), *doubts(found)]
    return ["", *lines, published_text(found["published"]), RESEARCH]


def findings_text(found: dict[str, Any]) -> list[str]:
    """Of the network, finding by finding."""
    from cxrbench.metrics.text import WIDE, title

    of, undefined = found["maps"]["network"], found["undefined"]
    rows = {name: each for name, each in of["findings"].items() if name not in undefined}
    mean = {"boxes": sum(each["boxes"] for each in rows.values()), **of["mean"]}

    def row(name: str, each: dict[str, Any]) -> str:
        figures = "".join(f"{short(at(each, name, overlap)['value']):>10}" for _, name, overlap in SHOWN)
        return f"{title(name)}{each['boxes']:>7,}{figures}"

    return [
        f"{'finding':<{WIDE}}{'boxes':>7}" + "".join(f"{heading:>10}" for heading, *_ in SHOWN),
        *[row(name, each) for name, each in rows.items()],
        row(f"mean of {mean['over']}", mean),
        *([f"undefined, for lack of boxes: {', '.join(undefined)}"] if undefined else []),
        "IoBB, IoU: share of the boxes found, at an overlap above it; false: boxes a map that match none at IoBB 0.25;",
        "empty: share of maps that are 0 everywhere, and find nothing",
    ]


def controls_text(found: dict[str, Any]) -> list[str]:
    """The means of all maps, and what the network has more."""
    from cxrbench.metrics.text import WIDE, title

    level = f"{found['interval']['level']:.0%} intervals"

    def row(name: str, each: dict[str, Any], key: str, sign: str = "") -> str:
        cells = [(of[key], of["low"], of["high"]) for _, which, overlap in BESIDE for of in [at(each, which, overlap)]]
        return title(name) + "".join(f"{spanned(*cell, sign):>{SPAN}}" for cell in cells).rstrip()

    means = {name: of["mean"] for name, of in found["maps"].items()}
    thresholds = found["thresholds"]
    used = ", ".join(f"{name} {' and '.join(dict.fromkeys(map(str, of)))}" for name, of in thresholds["of"].items())
    over = f"mean of {means['network']['over']}"
    return [
        f"{over:<{WIDE}}" + "".join(f"{heading:>{SPAN}}" for heading, *_ in BESIDE),
        *[row(name, each, "value") for name, each in means.items()],
        f"network less control, on the same draws ({level}):",
        *[row(f"  {name}", each, "difference", "+") for name, each in found["differences"].items()],
        f"thresholds, as shares of a map's maximum ({thresholds['chosen']}): {used}",
    ]


def verdict_text(found: dict[str, Any]) -> list[str]:
    says = {
        "beats": "beats {}",
        "undecided": "does not beat {}",
        "behind": "is behind {}",
        "empty": "is not held against {}, whose maps are mostly empty",
    }
    headings = {name: heading for heading, name, _ in SHOWN}
    return [
        f"{headings[name]}: the network " + "; ".join(says[how].format(listed(of[how])) for how in says if of[how])
        for name, of in found["verdict"].items()
        if any(of.values())
    ]


def published_text(wang: dict[str, Any]) -> str:
    values = ", ".join(f"{overlap}: {value:.3f}" for overlap, value in wang["accuracy_iobb"].items())
    return f"{wang['name']}, IoBB {values} ({wang['note']})"


def at(each: dict[str, Any], name: str, overlap: str | None) -> dict[str, Any]:
    found: dict[str, Any] = each[name] if overlap is None else each[name][overlap]
    return found


def short(value: float | None, sign: str = "") -> str:
    return "none" if value is None else f"{value:{sign}.3f}"


def spanned(value: float | None, low: float | None, high: float | None, sign: str = "") -> str:
    return f"{short(value, sign)} ({short(low, sign)} to {short(high, sign)})"


def listed(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
