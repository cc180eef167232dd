"""Where in images a trained network looks for findings: heat maps over the X-rays, and the maps as numbers.

Images are PNG or JPEG files, one or thousands, seen as `cxrbench predict` sees them. Without --findings: those over
their thresholds, where `cxrbench eval --fit` has fitted any for the run, else the highest of each image. A map says
where the network looked, not where a disease is. An image that can't be read is told of, the others go on, and the exit
code is 1.
"""

import argparse
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from cxrbench.commands.options import METHODS, add_files, add_network, add_scoring, warn
from cxrbench.commands.options import seed as not_negative
from cxrbench.commands.predict import order_of, tell, tell_large, the_one
from cxrbench.metrics.text import RESEARCH

if TYPE_CHECKING:
    from cxrbench.mapping import Done
    from cxrbench.predicting import Bad

MANY = 0.1  # of the maps


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_network(parser)
    add_files(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a new or empty folder")
    parser.add_argument(
        "--findings",
        nargs="+",
        metavar="F",
        help="names, or all (default: those over their thresholds; without thresholds, the highest of each image)",
    )
    parser.add_argument("--method", choices=METHODS, default=METHODS[0], help=f"default: {METHODS[0]}")
    add_scoring(parser)
    parser.add_argument(
        "--threads", type=not_negative, default=0, metavar="N", help="that decode, and write; 0: one a core (default)"
    )


def run(args: argparse.Namespace) -> int:
    from cxrbench.dataset.foreign import find_images

    paths = find_images(args.images)  # before torch, which takes seconds
    from tqdm import tqdm

    from cxrbench.explaining import explainer_of
    from cxrbench.mapping import MAPS, refuse_used, write_maps
    from cxrbench.predicting import terms_of
    from cxrbench.saved import find

    refuse_used(args.out)
    warn()
    warnings.filterwarnings("ignore", module="PIL")  # of metadata that say nothing of the pixels
    saved = the_one(find(args.network), args.network)
    order = order_of(args, saved)
    explainer = explainer_of(saved, order.device, args.method, order.view, order.batch)
    with tqdm(total=len(paths), disable=None, leave=False) as bar:

        def hear(bad: "Bad | None") -> None:
            bar.update()
            if bad is not None:
                with bar.external_write_mode():
                    tell([bad])

        terms = terms_of(saved, order.view)
        done = write_maps(saved, explainer, terms, paths, args.findings, args.out, order, args.method, hear)
    num_seen = len(paths) - done.num_bad
    tell_large(done.num_large, num_seen, order.view)
    without = num_seen - done.num_images
    none_over = f", {without:,} with no finding over its threshold" if without else ""
    maps = f"{done.num_maps:,} maps of {done.num_images:,} images{none_over}{empty_text(done, args.method)}"
    print(f"{args.out}: {maps}, listed in {MAPS}; {RESEARCH}")
    return 1 if done.num_bad else 0


def empty_text(done: "Done", method: str) -> str:
    if not done.num_empty:
        return ""
    fewer = "; --method layercam leaves fewer" if method == "gradcam" and done.num_empty > MANY * done.num_maps else ""
    return f", {done.num_empty:,} of them empty, for lack of anything that speaks for the finding{fewer}"
