"""What a run says while it runs: a line of JSON for every step and epoch, a bar on a terminal, TensorBoard if asked."""

import json
import math
from pathlib import Path
from typing import Any

from cxrbench.errors import UsageError
from cxrbench.runs import LOG
from cxrbench.storage import append_line, atomic_write, exists, read_text

EVERY = 32  # steps' lines that are written together
TENSORBOARD = "tensorboard"


class Record:
    """Of rank 0; the others have one that is silent."""

    def __init__(self, run: Path | None, tensorboard: bool = False, shows: bool | None = None) -> None:
        self.path = run / LOG if run else None
        self.shows = bool(run) if shows is None else shows
        self.waiting: list[str] = []
        self.board = open_board(run / TENSORBOARD) if run and tensorboard else None
        self.bar: Any = None

    def write(self, event: str, **values: Any) -> None:
        if self.path is None:
            return
        self.waiting.append(json.dumps({"event": event, **{key: tidy(value) for key, value in values.items()}}))
        if event != "step" or len(self.waiting) >= EVERY:
            self.flush()
        if self.board is not None and "step" in values:
            for key, value in values.items():
                if isinstance(value, float):
                    self.board.add_scalar(f"{event}/{key}", value, values["step"])

    def flush(self) -> None:
        if self.path is not None and self.waiting:
            append_line(self.path, "\n".join(self.waiting))
            self.waiting = []

    def rewind(self, step: int, epoch: int = 0) -> None:
        """Forgets what a killed run wrote behind the checkpoint that it goes on from."""
        if self.path is None or not exists(self.path):
            return
        lines = [line for line in read_text(self.path).splitlines() if is_before(line, step, epoch)]
        with atomic_write(self.path) as file:
            file.write("".join(f"{line}\n" for line in lines).encode())

    def progress(self, total: int, done: int, what: str) -> Any:
        """A bar over one epoch or one evaluation, on a terminal only."""
        from tqdm import tqdm

        self.bar = tqdm(
            total=total, initial=done, unit="image", desc=what, leave=False, disable=None if self.shows else True
        )
        return self.bar

    def close(self) -> None:
        self.flush()
        if self.bar is not None:
            self.bar.close()
        if self.board is not None:
            self.board.close()


def tidy(value: Any) -> Any:
    """JSON knows no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def is_before(line: str, step: int, epoch: int) -> bool:
    """A line that was cut by a crash is not; nor is that of an epoch whose validation is still to be done."""
    try:
        values = json.loads(line)
        is_done = values["event"] != "epoch" or values["epoch"] <= epoch
        return is_done and int(values.get("step", 0)) <= step
    except (ValueError, AttributeError, KeyError, TypeError):
        return False


def open_board(folder: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("--tensorboard lacks a package", got=f"{error}", do="pip install tensorboard") from None
    return SummaryWriter(str(folder))
