"""A frozen backbone gives the same features every epoch: computed once, kept in a file, and the head learns from them.

They are standardised by the training part's mean and deviation: those of random weights teach a head little otherwise.
A head that learned so is made one for the features as they are when it is saved.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from cxrbench.batch import Loader
from cxrbench.engine.distributed import World, gather, on_main
from cxrbench.engine.evaluate import outputs
from cxrbench.engine.precision import Precision
from cxrbench.engine.signals import Watch
from cxrbench.errors import DataError
from cxrbench.storage import locked, map_file, new_file, status

Ids = npt.NDArray[np.int64]
Shape = tuple[int, int, int, int]  # views, images, crops, features
FLOAT_BYTES = 4
SUM_BYTES = hashlib.sha256().digest_size  # the file's end
STILL = 1e-6  # a feature that moves less than this stays as it is
AT_ONCE = 4096  # images


def named(kind: str, key: Mapping[str, Any]) -> str:
    """A file name that depends on all that the content does."""
    return f"{kind}-{hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:24]}.f32"


def state_sha256(model: nn.Module) -> str:
    found = hashlib.sha256()
    for name, value in model.state_dict().items():
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def cached_features(path: Path, shape: Shape, make: Callable[[Tensor], None], world: World) -> Tensor:
    """float32, mapped: from the file if it is whole; else all ranks make them, each its images, in one file."""
    with ExitStack() as stack:
        unfinished = on_main(world, lambda: begin(path, shape, stack))
        if unfinished:
            whole = map_file(Path(unfinished), writable=True)
            make(as_features(whole, shape))
            whole.flush()  # type: ignore[attr-defined] # ranks on other machines see only what was written
            gather(world, None)
            on_main(world, lambda: sign(Path(unfinished), shape))
    gather(world, None)  # it has its name
    if status(path).kind != "file":
        do = "CXRBENCH_CACHE must name a folder that all ranks see, on whatever machine"
        raise DataError("rank 0's cache of features is not to be seen", got=path, do=do)
    return as_features(map_file(path), shape)


def begin(path: Path, shape: Shape, stack: ExitStack) -> str:
    """The file to be filled; empty, if it is there already. Whoever else wants the same file waits."""
    if is_whole(path, shape):  # who may only read needs no lock
        return ""
    try:
        stack.enter_context(locked(path.with_suffix(".lock"), wait=True))
        if is_whole(path, shape):
            return ""
        return str(stack.enter_context(new_file(path, num_bytes(shape) + SUM_BYTES)))
    except OSError as error:
        got = f"{path.parent}: {error.strerror}"
        do = "choose another folder with CXRBENCH_CACHE=DIR, or train without: --set regime.cached_views=0"
        raise DataError("cannot write the cache of features", got=got, do=do) from None


def num_bytes(shape: Shape) -> int:
    return int(np.prod(shape, dtype=np.int64)) * FLOAT_BYTES


def as_features(whole: npt.NDArray[np.uint8], shape: Shape) -> Tensor:
    return torch.from_numpy(whole[: num_bytes(shape)]).view(torch.float32).view(shape)


def sign(path: Path, shape: Shape) -> None:
    whole = map_file(path, writable=True)
    whole[-SUM_BYTES:] = np.frombuffer(hashlib.sha256(whole[: num_bytes(shape)].data).digest(), np.uint8)


def is_whole(path: Path, shape: Shape) -> bool:
    if status(path).size != num_bytes(shape) + SUM_BYTES:
        return False
    whole = map_file(path)
    return hashlib.sha256(whole[:-SUM_BYTES].data).digest() == whole[-SUM_BYTES:].tobytes()


def extract(
    out: Tensor,
    extractor: nn.Module,
    loader: Loader,
    ids: Ids,
    world: World,
    precision: Precision,
    watch: Watch,
    report: Callable[[int], object] = lambda _: None,
) -> None:
    """This rank's images into their rows of [views, images, crops, features]. View v is the loader's epoch v."""
    for view in range(len(out)):
        loader.set_epoch(view)
        written = []
        with watch.asking():
            for batch, features in outputs(extractor, loader, precision):
                watch.ask()
                rows = torch.from_numpy(np.searchsorted(ids, batch.ids[batch.valid].numpy()))
                out[view, rows] = features[: len(rows)].cpu()  # padding comes last
                written += rows.tolist()
                report(len(rows) * world.size)
        if sorted(row for each in gather(world, written) for row in each) != list(range(len(ids))):
            raise DataError("the loader did not bring every image exactly once", got=f"view {view}")


def moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each feature, over views, images and crops."""
    flat = features.view(-1, features.shape[-1])
    total, squares = torch.zeros(2, features.shape[-1], dtype=torch.float64)
    for rows in torch.split(flat, AT_ONCE):
        total += rows.double().sum(0)
    mean = total / len(flat)
    for rows in torch.split(flat, AT_ONCE):
        squares += (rows.double() - mean).square().sum(0)
    deviation = (squares / len(flat)).sqrt()
    return mean.float(), torch.where(deviation > STILL, deviation, 1.0).float()
