"""A phantom data set on the disk: drawn by many processes, the same bytes whatever their number, whole or not there.

Everything is written into a hidden folder inside the target and moved up at the end, the table last. So what an
interrupted run leaves never looks like a data set, and the target may be a mount point.
"""

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from cxrbench.dataset.parallel import map_bounded
from cxrbench.dataset.phantom import layout
from cxrbench.dataset.phantom.defects import KINDS, Defect
from cxrbench.dataset.phantom.draw import Box, draw
from cxrbench.dataset.phantom.plan import Plan
from cxrbench.dataset.phantom.visit import Visit
from cxrbench.dataset.png import encode_gray
from cxrbench.errors import DataError

PARTIAL = ".partial"
IMAGES = "images"
CONTENT = (IMAGES, *layout.LISTS, layout.BOXES, layout.TRUTH, layout.DATA_ENTRY)  # the table last
IMAGES_PER_TASK = 8  # few enough that an interrupt is answered at once, enough that processes don't wait for tasks
REMEDIES = {
    errno.ENOSPC: "free some space, or write fewer or smaller images",
    errno.EDQUOT: "free some of your quota, or write fewer or smaller images",
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
}


@dataclass(frozen=True, slots=True)
class Task:
    name: str
    shows: Visit  # of a duplicate, the image that it repeats
    defect: str | None


@dataclass(frozen=True, slots=True)
class Written:
    name: str
    boxes: dict[str, Box]
    num_bytes: int


def write_data_set(
    plan: Plan, defects: tuple[Defect, ...], out: Path, *, size_px: int, workers: int, progress: Callable[[int], object]
) -> int:
    """Write all files of a plan and return how many bytes they have; `progress` hears of each batch of images drawn."""
    with appearing_at_once(out) as folder:
        (folder / IMAGES).mkdir()
        boxes: dict[str, dict[str, Box]] = {}
        num_bytes = 0
        draw_batch = partial(write_batch, folder=folder / IMAGES, size_px=size_px, seed=plan.seed)
        results = map_bounded(draw_batch, batches(tasks(plan, defects)), workers)
        with closing(results):  # an interrupt too leaves no batch waiting
            for batch in results:
                boxes.update((written.name, written.boxes) for written in batch)
                num_bytes += sum(written.num_bytes for written in batch)
                progress(len(batch))
        for name, text in texts(plan, defects, boxes, size_px).items():
            num_bytes += (folder / name).write_bytes(text.encode("ascii"))
    return num_bytes


def texts(plan: Plan, defects: tuple[Defect, ...], boxes: dict[str, dict[str, Box]], size_px: int) -> dict[str, str]:
    """The files beside the images, in the order in which they appear: a folder without the table is no data set."""
    without_row = {defect.name for defect in defects if not KINDS[defect.kind].has_row}
    return {
        **{name: layout.name_list(plan, is_test, without_row) for name, is_test in layout.LISTS.items()},
        layout.BOXES: layout.box_list(plan, boxes),
        layout.TRUTH: layout.truth_json(plan, boxes, defects, size_px),
        layout.DATA_ENTRY: layout.data_entry(plan, without_row),
    }


def tasks(plan: Plan, defects: tuple[Defect, ...]) -> Iterator[Task]:
    visits = {visit.name: visit for visit in plan.visits}
    planted = {defect.name: defect for defect in defects}
    for name, visit in visits.items():
        defect = planted.get(name)
        if defect is None:
            yield Task(name, visit, None)
        elif KINDS[defect.kind].encode is not None:
            yield Task(name, visits[defect.of] if defect.of else visit, defect.kind)


def batches(items: Iterator[Task]) -> Iterator[list[Task]]:
    batch: list[Task] = []
    for item in items:
        batch.append(item)
        if len(batch) == IMAGES_PER_TASK:
            yield batch
            batch = []
    if batch:
        yield batch


def write_batch(batch: list[Task], folder: Path, size_px: int, seed: int) -> list[Written]:
    return [write_image(task, folder, size_px, seed) for task in batch]


def write_image(task: Task, folder: Path, size_px: int, seed: int) -> Written:
    drawing = draw(task.shows, size_px, seed)
    encode = KINDS[task.defect].encode if task.defect else encode_gray
    num_bytes = (folder / task.name).write_bytes(encode(drawing.pixels)) if encode else 0
    return Written(task.name, drawing.boxes, num_bytes)


@contextmanager
def appearing_at_once(out: Path) -> Iterator[Path]:
    """A new or empty folder gets all of its content at the end, or nothing."""
    is_new = not out.exists()
    folder = out / PARTIAL
    try:
        refuse_content(out)
        out.mkdir(parents=True, exist_ok=True)
        folder.mkdir()
    except OSError as error:
        raise DataError("cannot write there", got=f"{out}: {error.strerror}", do="choose another --out") from None
    try:
        yield folder
        for name in CONTENT:
            (folder / name).rename(out / name)
        folder.rmdir()
    except BaseException as error:
        for name in CONTENT:
            if (out / name).exists():
                (out / name).rename(folder / name)
        remove(folder)
        if is_new and not any(out.iterdir()):
            out.rmdir()
        if isinstance(error, OSError):
            what = f"{out}: {error.strerror}; nothing was left there"
            raise DataError("cannot write the data set", got=what, do=REMEDIES.get(error.errno or 0)) from None
        raise


def remove(folder: Path) -> None:
    """Renamed first: a worker that is still at its last batch then finds no folder to write another image into."""
    doomed = folder.with_name(f"{folder.name}.removed")
    with suppress(OSError):
        folder.rename(doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def refuse_content(out: Path) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise DataError("--out is a file", got=out, allowed="a new or empty folder", do="choose another --out")
    content = sorted(path.name for path in out.iterdir())
    if PARTIAL in content:
        do = "wait for it, or remove the folder if it was interrupted"
        raise DataError("--out holds an unfinished data set of another run", got=out, do=do)
    if content:
        got = f"{out} with {len(content)} entries, such as {content[0]}"
        do = "remove it or choose another --out"
        raise DataError("--out is not empty", got=got, allowed="a new or empty folder", do=do)
