"""A run's folder: what lies in it, and whether it is the run that is asked for. A torch is not needed to look.

    config.toml       every setting               log.jsonl             a line a step and an epoch
    environment.json  machine, versions, data     checkpoints/          to go on from, and weights to use
    split.parquet     who is in which part        predictions-*.parquet, metrics.json

With several regimes or seeds, each is a run in a folder of its own, and metrics.json above them compares.
"""

import dataclasses
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cxrbench.config import RunConfig, from_toml, to_toml
from cxrbench.errors import ConfigError, DataError, StoppedError, UsageError
from cxrbench.storage import atomic_write, exists, listing, locked, make_folder, read_bytes, read_text, remove, walk

CONFIG, ENVIRONMENT, METRICS, SPLIT = "config.toml", "environment.json", "metrics.json", "split.parquet"
LOG, EVAL = "log.jsonl", "eval"  # the latter takes what evaluation leaves where no --out is given
CHECKPOINTS, BEST = "checkpoints", "best.safetensors"
LOCK = ".lock"
BEFORE_IT_BEGINS = {LOCK, ENVIRONMENT}  # what a killed run may leave and be forgotten
COMPARED = ("baseline", "head", "full")  # what the regime `all` stands for
# These change nothing of what comes out, so a run may go on with others.
FREE = {"about", "loader.threads", "loader.prefetch", "train.keep", "train.checkpoint_steps"}


@dataclass(frozen=True, slots=True)
class Plan:
    """One run."""

    folder: Path
    config: RunConfig

    @property
    def regime(self) -> str:
        return self.config.regime.name


def plans(config: RunConfig, out: Path, num_seeds: int) -> list[Plan]:
    """From one start, for each seed: regimes differ in nothing else."""
    regimes = COMPARED if config.regime.name == "all" else (config.regime.name,)
    found = []
    for seed in range(config.train.seed, config.train.seed + num_seeds):
        folder = out / f"seed-{seed}" if num_seeds > 1 else out
        for regime in regimes:
            own = replace(config, regime=replace(config.regime, name=regime), train=replace(config.train, seed=seed))
            found.append(Plan(folder / regime if len(regimes) > 1 else folder, own))
    return found


@contextmanager
def claimed(out: Path, resume: bool) -> Iterator[None]:
    """The folder for this process alone: new, or of a run that goes on."""
    begun = exists(out / CONFIG)
    if resume and not begun:
        raise UsageError("no run to go on with", got=out, do="leave --resume out to begin one")
    if not resume and set(listing(out)) - BEFORE_IT_BEGINS:
        do = "--resume goes on with it; or give another --out" if begun else "give another --out"
        raise UsageError("--out is there already", got=out, do=do)
    was_there = exists(out)
    make_folder(out)
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(out / LOCK))
        except BlockingIOError:
            do = "wait for it, or give another --out"
            raise UsageError("another process is at this run", got=out, do=do) from None
        with emptied_if_nothing_began(out, resume, was_there):
            yield


@contextmanager
def emptied_if_nothing_began(out: Path, resume: bool, was_there: bool) -> Iterator[None]:
    try:
        yield
    except StoppedError:
        raise
    except BaseException:
        if not resume and not has_checkpoint(out):  # a wrong option, say: the same --out serves the next try
            for path in [out / name for name in listing(out)] if was_there else [out]:  # it may be a link
                remove(path)
        raise


def named(run: Path, above: Path) -> str:
    """A run by its own folder; one of several by its place among them."""
    return (Path(above.resolve().name) / run.relative_to(above)).as_posix()


def has_checkpoint(out: Path) -> bool:
    return any(True for _ in walk(out, lambda name: name.endswith(".safetensors")))


def write_json(path: Path, value: Any) -> None:
    with atomic_write(path) as file:
        file.write((json.dumps(value, indent=2) + "\n").encode())


def read_json(path: Path) -> Any:
    try:
        return json.loads(read_bytes(path))
    except ValueError as error:
        raise DataError("not JSON", got=f"{path}: {error}") from None


def write_config(folder: Path, config: RunConfig) -> None:
    with atomic_write(folder / CONFIG) as file:
        file.write(to_toml(config).encode())


def read_config(folder: Path) -> RunConfig:
    return from_toml(read_text(folder / CONFIG), str(folder / CONFIG))


def refuse_others(wanted: RunConfig, folder: Path) -> None:
    """A run goes on as it began."""
    begun = read_config(folder)
    differing = {
        name: (ours, theirs)
        for name, ours in settings(wanted).items()
        if (theirs := settings(begun)[name]) != ours and name not in FREE
    }
    if differing:
        got = ", ".join(f"{name} = {ours}" for name, (ours, _) in differing.items())
        allowed = ", ".join(f"{name} = {theirs}" for name, (_, theirs) in differing.items())
        do = "leave these options out: --resume knows them; or start another run"
        raise ConfigError("the run began with other settings", got=got, allowed=allowed, do=do)


def settings(config: RunConfig) -> dict[str, Any]:
    nested = dataclasses.asdict(config)
    flat = {name: value for name, value in nested.items() if not isinstance(value, dict)}
    sections = {name: value for name, value in nested.items() if isinstance(value, dict)}
    return flat | {f"{name}.{key}": value for name, keys in sections.items() for key, value in keys.items()}


def refuse_other_data(folder: Path, sha256: str) -> None:
    about = read_json(folder / ENVIRONMENT)["data"]
    if about["sha256"] != sha256:
        do = f"give the data it began with, {about['folder']}, or start another run"
        raise DataError("the run began on other data", got=sha256[:16], allowed=about["sha256"][:16], do=do)
