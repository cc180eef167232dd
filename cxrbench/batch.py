"""What every loader delivers, and what every loader can do: the one contract between data and training."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

NO_ID = -1  # of the padding


@dataclass(frozen=True, slots=True)
class Batch:
    images: Tensor  # uint8 gray, [B, 1, H, W], or [B, 10, 1, H, W] for TenCrop; on the loader's device
    labels: Tensor  # float32 [B, findings], from the table by id; on the loader's device
    ids: Tensor  # int64 [B], the column `id` of samples.parquet; NO_ID where not valid; on the CPU
    valid: Tensor  # bool [B], False for the padding that keeps evaluation batches one size; on the CPU


class Loader(Protocol):
    name: str  # in the registry
    num_samples: int  # of this rank, each epoch, padding not counted

    def __len__(self) -> int:
        """Batches an epoch; equal on all ranks."""

    def __iter__(self) -> Iterator[Batch]:
        """One epoch; the next one follows by itself, in another order if shuffled."""

    def set_epoch(self, epoch: int) -> None:
        """Which epoch comes next, from its beginning, unless a state inside this very epoch was loaded."""

    def state_dict(self) -> dict[str, Any]:
        """The position behind the last batch that was delivered."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The batches that follow are those that would have followed; another kind of loader's state is refused."""

    def close(self) -> None:
        """Processes, threads and memory are given back."""
