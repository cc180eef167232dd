"""What makes a conversion safe to kill and to start again: one at a time, with the same options, no leftovers."""

import json
import re
from collections.abc import Iterator, Mapping, Set
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from cxrbench.dataset.locate import Place
from cxrbench.dataset.plan import Shard
from cxrbench.dataset.task import WORK, Outcome, Row, digest_of, read_outcome
from cxrbench.errors import DataError
from cxrbench.storage import (
    atomic_write,
    exists,
    listing,
    locked,
    read_bytes,
    remove,
    remove_temporary,
    sha256_of,
    status,
)

BEGUN = "options.json"
OF_A_SHARD = re.compile(r"\d{6,}\.(tar|idx)")


@contextmanager
def alone(folder: Path, part: tuple[int, int] | None) -> Iterator[None]:
    """No other conversion at work in the folder; if we are a part, none but other parts."""
    refuse_foreign(folder)
    with ExitStack() as locks:
        try:
            locks.enter_context(locked(folder / WORK / "lock", shared=part is not None))
            if part:
                locks.enter_context(locked(folder / WORK / f"part-{part[0]}-of-{part[1]}.lock"))
        except BlockingIOError:
            do = "wait for it, or stop it"
            raise DataError("another conversion is at work here", got=folder, do=do) from None
        if part:
            yield
            return
        remove_leftovers(folder)  # of a run that was killed; only who is alone may, so a part leaves them
        try:
            yield
        finally:
            remove_leftovers(folder)


def refuse_foreign(folder: Path) -> None:
    """Files that are not ours would be taken for a part of the data set, or removed with what is left over."""
    if exists(folder / WORK / BEGUN):
        return
    if names := [name for name in listing(folder) if name != WORK]:
        got = f"{folder} with {len(names)} entries, such as {names[0]}"
        raise DataError("the folder is not empty", got=got, do="choose another --out")


def remove_leftovers(folder: Path) -> None:
    work = folder / WORK
    scratch = [work / name for name in listing(work) if status(work / name).kind == "folder"]
    for each in (folder, work, *scratch):
        remove_temporary(each)


def remove_others(folder: Path, stems: Set[str]) -> None:
    """Shards of an earlier plan, which --partial had when other images were there."""
    for name in listing(folder):
        if OF_A_SHARD.fullmatch(name) and Path(name).stem not in stems:
            remove(folder / name)


def remove_work(folder: Path) -> None:
    remove(folder / WORK)


def begin(folder: Path, settings: dict[str, Any]) -> None:
    """Record the options before the first bytes that depend on them; two parts may do so at once."""
    with locked(folder / WORK / "begin.lock", wait=True):
        recorded = refuse_if_begun_otherwise(folder, settings)
        with atomic_write(folder / WORK / BEGUN) as file:
            file.write(json.dumps(recorded | settings).encode())


def refuse_if_begun_otherwise(folder: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """What is recorded, if anything."""
    begun = folder / WORK / BEGUN
    try:
        recorded: dict[str, Any] = json.loads(read_bytes(begun)) if exists(begun) else {}
    except ValueError:
        raise DataError("cannot read what a run began", got=begun, do="remove the folder and run again") from None
    if recorded:
        refuse_others(settings, recorded, folder)
    return recorded


def refuse_others(ours: dict[str, Any], theirs: dict[str, Any], folder: Path) -> None:
    """In what both say: the images' shape is not known from the beginning."""
    now, before = flat(ours), flat(theirs)
    if differing := [key for key in now if key in before and now[key] != before[key]]:
        got = ", ".join(f"{key} {before[key]} there and {now[key]} now" for key in differing)
        do = "give another --out, or remove the folder"
        raise DataError(f"{folder} was begun with other options", got=got, do=do)


def flat(settings: dict[str, Any]) -> dict[str, Any]:
    """The libraries' versions each by name, so that a message can say which one it is."""
    versions = {f"version of {name}": value for name, value in settings["versions"].items()}
    return {key: value for key, value in settings.items() if key != "versions"} | versions


def finished(folder: Path, shard: Shard, places: Mapping[str, Place]) -> Outcome | None:
    """What a shard came to, if it is whole on the disk and made from the rows and files that the plan has now."""
    try:
        outcome, samples = read_outcome(folder, shard.stem)
        whole = (
            is_of(outcome, samples, shard)
            and outcome.sources == digest_of([places[row["name"]] for row in shard.rows()])
            and sha256_of(folder / outcome.file) == outcome.sha256
            and sha256_of(folder / f"{shard.stem}.idx") == outcome.index_sha256
        )
    except (DataError, OSError, ValueError, TypeError, KeyError):
        return None
    return outcome if whole else None


def is_of(outcome: Outcome, samples: list[Row], shard: Shard) -> bool:
    """By whole rows: with other images at hand, the same names may have got other ids."""
    bad = {name for name, _ in outcome.bad}
    good = [row for row in shard.rows() if row["name"] not in bad]
    return (
        len(good) == len(samples) == outcome.num_samples == len(shard) - len(bad)
        and outcome.file == f"{shard.stem}.tar"
        and all(row.items() <= sample.items() for row, sample in zip(good, samples, strict=True))
    )
