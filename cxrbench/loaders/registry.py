"""Every loader by its name, and how `auto` chooses among them."""

import importlib
import importlib.util
import logging
from dataclasses import dataclass

import torch

from cxrbench.errors import UsageError
from cxrbench.loaders.feed import FeedLoader
from cxrbench.loaders.request import Request

log = logging.getLogger("cxrbench")


@dataclass(frozen=True, slots=True)
class Entry:
    module: str  # imported when it is asked for: DALI and webdataset take seconds
    feed: str
    about: str


LOADERS = {
    "resident": Entry("cxrbench.loaders.resident", "Resident", "decoded once, kept on the GPU or in a mapped file"),
    "dali": Entry("cxrbench.loaders.dali", "Dali", "NVIDIA DALI, on the GPU or the CPU; no cache, any size of data"),
    "webdataset": Entry("cxrbench.loaders.webdataset", "WebDataset", "the webdataset library, for who lives there"),
    "folder": Entry("cxrbench.loaders.folder", "Folder", "the source PNGs through Pillow and torchvision: the oracle"),
}
AUTO = "auto"


def build_loader(name: str, request: Request) -> FeedLoader:
    if name == AUTO:
        name, why = choose(request)
        log.info("loader %s: %s", name, why)
    if name not in LOADERS:
        raise UsageError("unknown loader", got=repr(name), allowed=", ".join((AUTO, *LOADERS)))
    entry = LOADERS[name]
    try:
        feed = getattr(importlib.import_module(entry.module), entry.feed)(request)
    except ModuleNotFoundError as error:
        do = "cxrbench doctor says what to install; or choose another loader"
        raise UsageError(f"the loader {name} lacks a package", got=f"no {error.name}", do=do) from None
    return FeedLoader(name, request, feed)


def agreed(reason: str, world: int) -> str:
    """Loaders deal images out differently, so all ranks take the same one: one's obstacle is everybody's."""
    if world == 1:
        return reason
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        log.warning("loader auto: %d ranks that can't ask each other may choose differently; name the loader", world)
        return reason
    reasons: list[str] = [""] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(reasons, reason)
    return next(filter(None, reasons), "")


def choose(request: Request) -> tuple[str, str]:
    """`resident` where it fits, since no loader is faster than not loading; else DALI; with the reason."""
    from cxrbench.loaders.resident import obstacle

    if reason := agreed(obstacle(request), request.partition.world):
        has_dali = importlib.util.find_spec("nvidia.dali") is not None
        return ("dali", reason) if has_dali else ("webdataset", f"{reason}; and DALI is not installed")
    return "resident", f"{len(request.data.samples):,} images fit"
