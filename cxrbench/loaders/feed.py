"""The one loader: it counts epochs and positions and adds the labels; a feed brings the images."""

from collections.abc import Iterator
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cxrbench.batch import NO_ID, Batch
from cxrbench.errors import UsageError
from cxrbench.loaders.partition import whole_number
from cxrbench.loaders.request import Request

Ids = npt.NDArray[np.int64]


class Feed(Protocol):
    """Images of one rank on its device; each loader is one."""

    def batches(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Ids]]:
        """From batch `first` of an epoch on: images, and the ids of those that are no padding."""

    def state(self) -> dict[str, Any]:
        """What it needs, besides epoch and batch, to go on behind the batch delivered last."""

    def restore(self, state: dict[str, Any]) -> None: ...

    def key(self) -> dict[str, Any]:
        """What its positions depend on, besides what was asked for."""

    def close(self) -> None: ...


class FeedLoader:
    """Fulfils cxrbench.batch.Loader."""

    def __init__(self, name: str, request: Request, feed: Feed) -> None:
        self.name = name
        self.request = request
        self.num_samples = request.partition.num_samples
        self._feed: Feed | None = feed
        self._next = (0, 0)  # epoch and batch that an iteration begins with
        self._position = (0, 0)  # behind the batch delivered last
        self._turn = 0

    def __len__(self) -> int:
        return self.request.partition.steps

    def __iter__(self) -> Iterator[Batch]:
        if self._feed is None:
            raise UsageError("the loader is closed", do="make another one")
        self._turn += 1
        return self._epoch(self._feed, self._turn)

    def _epoch(self, feed: Feed, turn: int) -> Iterator[Batch]:
        self._refuse_old(turn)
        self._position = epoch, number = self._next
        self._next = (epoch, 0)  # where it is left early, the epoch begins anew
        for images, ids in feed.batches(epoch, number):
            number += 1
            self._position = (epoch, number)
            if number == len(self):  # who counts batches need not come back for the end
                self._next = (epoch + 1, 0)
            yield self._batch(images, ids)
            self._refuse_old(turn)
        if number != len(self):
            raise RuntimeError(f"{self.name} delivered {number} batches instead of {len(self)}")
        self._next = self._position = (epoch + 1, 0)

    def _refuse_old(self, turn: int) -> None:
        """Two iterations at once would take each other's images."""
        if turn != self._turn or self._feed is None:
            raise UsageError("this iteration is over", got="a newer one, or a closed loader")

    def _batch(self, images: Tensor, ids: Ids) -> Batch:
        size = len(images)
        padded = np.full(size, NO_ID)
        padded[: len(ids)] = ids
        labels = np.zeros((size, len(self.request.data.findings)), np.float32)
        labels[: len(ids)] = self.request.data.labels[self.request.data.rows_of(ids)]
        valid = torch.arange(size) < len(ids)
        on_device = torch.from_numpy(labels).to(self.request.device, non_blocking=True)
        return Batch(images, on_device, torch.from_numpy(padded), valid)

    def set_epoch(self, epoch: int) -> None:
        epoch = whole_number("epoch", epoch, 0)
        if epoch != self._next[0]:
            self._next = (epoch, 0)
        self._position = self._next

    def state_dict(self) -> dict[str, Any]:
        if self._feed is None:
            raise UsageError("the loader is closed", do="save its state before")
        epoch, batch = self._position
        return {"key": self._key(self._feed), "epoch": epoch, "batch": batch, "feed": self._feed.state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._feed is None:
            raise UsageError("the loader is closed", do="make another one")
        try:
            theirs, epoch, batch = dict(state["key"]), int(state["epoch"]), int(state["batch"])
        except (KeyError, TypeError, ValueError):
            raise UsageError("not a loader's state", got=f"{state!r:.80}", do="give what state_dict returned") from None
        ours = self._key(self._feed)
        if differs := [name for name in ours if ours[name] != theirs.get(name)]:
            raise UsageError(
                f"the state is another loader's: {', '.join(differs)} differ{'s' if len(differs) == 1 else ''}",
                got=", ".join(str(theirs.get(name)) for name in differs),
                allowed=", ".join(str(ours[name]) for name in differs),
                do="build the loader as it was, or begin the epoch anew",
            )
        if not (epoch >= 0 and 0 <= batch <= len(self)):
            raise UsageError(
                "no such position", got=f"epoch {epoch}, batch {batch}", allowed=f"0 to {len(self)} batches"
            )
        self._feed.restore(state["feed"])
        self._turn += 1
        self._next = self._position = (epoch, batch)

    def _key(self, feed: Feed) -> dict[str, Any]:
        return {"loader": self.name, **self.request.key(), **feed.key()}

    def close(self) -> None:
        feed, self._feed = self._feed, None
        if feed is not None:
            feed.close()

    def __repr__(self) -> str:
        part, request = self.request.partition, self.request
        order = "shuffled" if part.shuffle else "in order"
        return (
            f"<{self.name}: {self.num_samples:,} images in {len(self):,} batches of {part.size}, {request.view}, "
            f"{order}, rank {part.rank} of {part.world}, {request.device}>"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Stateless:
    """For feeds whose order is arithmetic: epoch and batch are all."""

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None: ...

    def key(self) -> dict[str, Any]:
        return {}

    def close(self) -> None: ...
