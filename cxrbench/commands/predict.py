"""What a trained network makes of images that are in no data set: PNG or JPEG files, one or thousands.

They go through what its training images went through; the checkpoint knows it. Where `cxrbench eval --fit` has fitted
thresholds for the run, the findings over theirs are named, else the three highest. An image that can't be read is told
of, the others go on, and the exit code is 1. For research, not for diagnosis.
"""

import argparse
import json
import sys
import warnings
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cxrbench.commands.options import add_files, add_network, add_scoring, warn
from cxrbench.commands.options import seed as not_negative
from cxrbench.environment import usable_cores
from cxrbench.errors import DataError, UsageError
from cxrbench.metrics.text import RESEARCH

if TYPE_CHECKING:
    from cxrbench.predicting import Answer, Bad, Order, Terms
    from cxrbench.saved import Saved

HIGHEST = 3  # that are named where there are no thresholds


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_network(parser)
    add_files(parser)
    add_scoring(parser)
    parser.add_argument(
        "--threads", type=not_negative, default=0, metavar="N", help="that decode; 0: one a core (default: 0)"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="everything as one JSON object, at the end")
    form.add_argument("--csv", action="store_true", help="a row an image: name, score_FINDING, over_FINDING")


def run(args: argparse.Namespace) -> int:
    from cxrbench.dataset.foreign import find_images

    paths = find_images(args.images)  # before torch, which takes seconds
    from tqdm import tqdm

    from cxrbench.predicting import answers, is_large, predict, sight_of, terms_of
    from cxrbench.saved import find

    warn()
    warnings.filterwarnings("ignore", module="PIL")  # of metadata that say nothing of the pixels
    saved = the_one(find(args.network), args.network)
    order = order_of(args, saved)
    terms = terms_of(saved, order.view)
    form = (Json if args.json else Csv if args.csv else Text)(terms)
    num_bad = num_large = num_seen = 0
    sight = sight_of(saved)
    with closing(predict(saved, paths, order)) as batches, tqdm(total=len(paths), disable=None, leave=False) as bar:
        show(form.begin())
        for scored in batches:
            with bar.external_write_mode():
                tell(scored.bad)
                show(form.rows(answers(scored, terms), scored.bad))
            num_bad += len(scored.bad)
            num_seen += len(scored.names)
            num_large += sum(is_large(shape, sight) for shape in scored.shapes)
            bar.update(len(scored.names) + len(scored.bad))
    show(form.end())
    tell_large(num_large, num_seen, order.view)
    if args.csv:
        print(f"cxrbench: {RESEARCH}", file=sys.stderr)
    return 1 if num_bad else 0


def the_one(found: "list[Saved]", path: Path) -> "Saved":
    if len(found) > 1:
        allowed = ", ".join(str(each.run or each.weights) for each in found)
        raise UsageError("there are several networks in it", got=path, allowed=f"one of {allowed}")
    return found[0]


def order_of(args: argparse.Namespace, saved: "Saved") -> "Order":
    from cxrbench.data import chosen_device
    from cxrbench.predicting import Order

    own = saved.config.eval
    device = chosen_device(args.device)
    return Order(args.view or own.view, args.batch or own.batch, args.threads or usable_cores(), device)


def tell(bad: "Sequence[Bad]") -> None:
    for each in bad:
        print(f"cxrbench: {DataError('bad image', got=f'{each.name}: {each.problem}')}", file=sys.stderr)


def tell_large(num_large: int, num_images: int, view: str) -> None:
    from cxrbench.predicting import large_text

    if num_large:
        print(f"cxrbench: {large_text(num_large, num_images, view)}", file=sys.stderr)


def show(lines: Sequence[str]) -> None:
    if lines:
        print("\n".join(lines))


class Form(Protocol):
    """Lines of what is printed; those of a batch as soon as it is scored, so that nothing done is lost."""

    def begin(self) -> list[str]: ...

    def rows(self, answers: "Sequence[Answer]", bad: "Sequence[Bad]") -> list[str]: ...

    def end(self) -> list[str]: ...


class Text:
    def __init__(self, terms: "Terms") -> None:
        self.terms = terms

    def begin(self) -> list[str]:
        return []

    def rows(self, answers: "Sequence[Answer]", bad: "Sequence[Bad]") -> list[str]:  # noqa: ARG002 - they are told of
        return [
            f"{in_a_line(each.name)}: {', '.join(self.named(each)) or 'none over its threshold'}" for each in answers
        ]

    def named(self, answer: "Answer") -> list[str]:
        """The highest first, of the probabilities that are shown; decided was by the scores."""
        calibrated = answer.calibrated or {}
        mapped = {name: value for name, value in calibrated.items() if value is not None}
        shown = answer.scores | mapped
        names = sorted(self.terms.findings if answer.over is None else answer.over, key=lambda name: -shown[name])
        raw = {name: " (not calibrated)" if calibrated and name not in mapped else "" for name in names}
        return [f"{name} {shown[name]:.3f}{raw[name]}" for name in names[: HIGHEST if answer.over is None else None]]

    def end(self) -> list[str]:
        terms = self.terms
        lines = []
        if terms.thresholds is None:
            lines.append(f"the three highest of each, for lack of thresholds, which come of: {terms.how_to_fit}")
        else:
            without = [name for name, value in terms.thresholds.items() if value is None]
            lines.append(f"thresholds: {terms.fitted.rule}" + (f"; none for {', '.join(without)}" if without else ""))
        if terms.fitted.kind:
            lines.append(f"probabilities: calibrated, {terms.fitted.kind}; thresholds go by the scores before that")
        return ["", *lines, RESEARCH]


def in_a_line(name: str) -> str:
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in name)


class Csv:
    def __init__(self, terms: "Terms") -> None:
        self.terms = terms

    def begin(self) -> list[str]:
        over = [] if self.terms.thresholds is None else [f"over_{name}" for name in self.terms.findings]
        return [row(["name", *(f"score_{name}" for name in self.terms.findings), *over])]

    def rows(self, answers: "Sequence[Answer]", bad: "Sequence[Bad]") -> list[str]:  # noqa: ARG002 - they are told of
        return [row([each.name, *each.scores.values(), *self.over(each)]) for each in answers]

    def over(self, answer: "Answer") -> list[object]:
        """Empty where a finding has no threshold."""
        if answer.over is None or self.terms.thresholds is None:
            return []
        return ["" if value is None else int(name in answer.over) for name, value in self.terms.thresholds.items()]

    def end(self) -> list[str]:
        return []


def row(cells: list[object]) -> str:
    from cxrbench.storage import csv_line

    return csv_line(cells).removesuffix("\n")


class Json:
    def __init__(self, terms: "Terms") -> None:
        self.terms = terms
        self.images: list[dict[str, object]] = []
        self.bad: list[dict[str, str]] = []

    def begin(self) -> list[str]:
        return []

    def rows(self, answers: "Sequence[Answer]", bad: "Sequence[Bad]") -> list[str]:
        for each in answers:
            calibrated = {} if each.calibrated is None else {"calibrated": each.calibrated}
            self.images.append({"name": each.name, "scores": each.scores, **calibrated, "over": each.over})
        self.bad += [{"name": each.name, "problem": each.problem} for each in bad]
        return []

    def end(self) -> list[str]:
        terms = self.terms
        about = {
            "thresholds": terms.thresholds,
            "checkpoint": str(terms.checkpoint),
            "view": terms.view,
            "use": RESEARCH,
        }
        return [json.dumps({"images": self.images, "bad": self.bad, **about}, indent=2)]
