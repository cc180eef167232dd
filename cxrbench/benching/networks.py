"""`bench train`: networks alone, each as asked for, in turn."""

import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch

from cxrbench.batch import Batch
from cxrbench.benching.steps import Step, eval_step, made_batches, train_step
from cxrbench.config import RunConfig, override
from cxrbench.engine.memory import keep_freed_memory
from cxrbench.engine.precision import DTYPES, choose_precision
from cxrbench.errors import CxrError
from cxrbench.labels import NIH14
from cxrbench.throughput.compute import Work, best_rate, count_flops, time_steps, warmed
from cxrbench.throughput.energy import meter
from cxrbench.throughput.record import name_of
from cxrbench.throughput.spread import Figures, in_turn, together
from cxrbench.told import is_out_of_memory

GIGA, TERA = 1e9, 1e12
STEPS: Mapping[str, Callable[[RunConfig, int, torch.device], Step]] = {"train": train_step, "eval": eval_step}
NUM_BATCHES, NUM_COUNTED = 2, 2
PLAIN = ("first_step_s", "gflop_per_image", "best_tflop_per_s")  # the same in every turn


@dataclass(frozen=True, slots=True)
class Case:
    arch: str
    mode: str
    precision: str
    batch: int
    crop: int
    layout: str
    code: str  # compiled or eager
    device: str

    @property
    def config(self) -> RunConfig:
        settings = {
            "model.arch": self.arch,
            "model.weights": "none",
            "view.resize": 0,
            "view.crop": self.crop,
            "train.batch": self.batch,
            "train.precision": self.precision,
            "train.channels_last": self.layout == "channels_last",
            "train.compile": self.code == "compiled",
        }
        return override(RunConfig(), settings)


class Bench:
    """What the cases share: the device, its best rates, and what a step of each network is in FLOPs."""

    def __init__(self, device: torch.device, seconds: float) -> None:
        self.device, self.seconds, self.joules = device, seconds, meter(device)
        self.best = functools.cache(lambda precision: best_rate(DTYPES[precision], device, seconds))
        self.flop = functools.cache(self.count)

    def count(self, arch: str, mode: str, crop: int) -> float:
        """An image's."""
        config = Case(arch, mode, "fp32", NUM_COUNTED, crop, "contiguous", "eager", self.device.type).config
        step, (batch, *_) = self.build(config, mode)
        return count_flops(lambda: step(batch)) / NUM_COUNTED

    def build(self, config: RunConfig, mode: str) -> tuple[Step, list[Batch]]:
        step = STEPS[mode](config, len(NIH14), self.device)
        return step, made_batches(NUM_BATCHES, config.train.batch, config.view.crop, len(NIH14), self.device)

    def turn(self, case: Case) -> Callable[[], Figures]:
        """Built at its first call, so that one that cannot be is a problem of its own; then kept."""
        work: list[Work] = []

        def turn() -> Figures:
            with in_a_line(case):
                choose_precision(case.precision, self.device)  # refuses
                flop, best = self.flop(case.arch, case.mode, case.crop), self.best(case.precision)
                if not work:
                    work.append(warmed(lambda: self.build(case.config, case.mode), self.device))
                figures = time_steps(work[0], self.seconds, self.joules)
            reached = flop * figures["images_per_s"]
            return {
                **figures,
                "tflop_per_s": reached / TERA,
                "of_best": reached / best,
                "first_step_s": work[0].first_s,
                "gflop_per_image": flop / GIGA,
                "best_tflop_per_s": best / TERA,
            }

        return turn


def measure(
    cases: Sequence[Case], device: torch.device, turns: int, seconds: float, say: Callable[[str], None]
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Rows, and what failed."""
    if device.type == "cpu":
        keep_freed_memory()
    if compiled := sum(case.code == "compiled" for case in cases):
        make_room(compiled)
    named = {name_of(asdict(case)): case for case in cases}
    bench = Bench(device, seconds)
    told, problems = in_turn({name: bench.turn(case) for name, case in named.items()}, turns, say)
    return [row(named[name], figures) for name, figures in told.items()], problems


def row(case: Case, turns: Sequence[Figures]) -> dict[str, Any]:
    """What was not to be measured is None."""
    spreads = together(turns)
    plain = {name: spreads.pop(name)["median"] for name in PLAIN}
    return {"case": asdict(case), "peak_mib": None, "joules_per_image": None, **spreads, **plain}


def make_room(num: int) -> None:
    """For compiled networks, which share one piece of code; torch would leave those beyond the eighth uncompiled."""
    room = torch._dynamo.config.cache_size_limit + 2 * num
    torch._dynamo.config.cache_size_limit = room


@contextmanager
def in_a_line(case: Case) -> Iterator[None]:
    """What torch tells on a page is one case's problem."""
    try:
        yield
    except (RuntimeError, MemoryError, ValueError) as error:
        got = f"{' '.join(str(error).split()):.200}"
        if not is_out_of_memory(error):
            raise CxrError("the step failed", got=got) from error
        do = "a smaller --batches, or fewer cases: each keeps its network"
        raise CxrError("out of memory", got=f"batches of {case.batch}: {got}", do=do) from error


def crossed(device: torch.device, crop: int, lists: Mapping[str, Sequence[Any]]) -> list[Case]:
    """Each with each; `auto` is the precision that training would choose."""
    cases = []
    for values in itertools.product(*lists.values()):
        asked = dict(zip(lists, values, strict=True))
        if asked["precision"] == "auto":
            asked["precision"] = choose_precision("auto", device).name
        cases.append(Case(**asked, crop=crop, device=device.type))
    return cases
