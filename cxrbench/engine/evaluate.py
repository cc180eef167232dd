"""Scores of a part: every image once whatever the number of ranks, and the same bits."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cxrbench.batch import Batch, Loader
from cxrbench.engine.distributed import World, gather
from cxrbench.engine.precision import Precision
from cxrbench.engine.signals import Watch
from cxrbench.errors import DataError

Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, slots=True)
class Outputs:
    """In the order of ids, of all ranks, on every rank."""

    ids: Ids
    values: Tensor  # float32 [images, crops, outputs], on the CPU


def evaluate(
    module: nn.Module,
    loader: Loader,
    expected: Ids,
    world: World,
    precision: Precision,
    watch: Watch,
    report: Callable[[int], object] = lambda _: None,
) -> Outputs:
    """What the module, [B, crops, outputs], makes of each image; refused unless the images are exactly those expected.

    All batches have one size, padding included: the last bits of a score depend on it.
    """
    ids, values = [], []
    with watch.asking():
        for batch, output in outputs(module, loader, precision):
            watch.ask()
            ids.append(batch.ids[batch.valid])
            values.append(output[: len(ids[-1])])  # padding comes last
            report(len(ids[-1]))
    found = gather(world, (torch.cat(ids), torch.cat(values).cpu()))
    all_ids, all_values = torch.cat([ids for ids, _ in found]).numpy(), torch.cat([values for _, values in found])
    order = np.argsort(all_ids, kind="stable")
    if not np.array_equal(all_ids[order], expected):
        got = f"{len(all_ids):,} scores of {len(set(all_ids.tolist())):,} images"
        raise DataError("not every image was scored exactly once", got=got, allowed=f"{len(expected):,}")
    return Outputs(all_ids[order], all_values[torch.from_numpy(order)])


@torch.no_grad()
def outputs(module: nn.Module, loader: Loader, precision: Precision) -> Iterator[tuple[Batch, Tensor]]:
    """float32 on the device."""
    module.eval()
    for batch in loader:
        with precision.autocast():
            output = module(batch.images)
        yield batch, output.float()
