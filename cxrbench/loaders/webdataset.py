"""`webdataset`: the webdataset library over our shards, in torch's DataLoader.

Tars change places and ranks every epoch, and a buffer mixes what is read from them. A position inside an epoch is
reached by reading up to it.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset as wds
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from cxrbench.config import ViewConfig
from cxrbench.dataset.convert import shrink
from cxrbench.dataset.encodings import encoding
from cxrbench.dataset.pixels import StoredImage, checked_pixels, stored_images, tar_path
from cxrbench.errors import DataError
from cxrbench.loaders.feed import Ids, Stateless
from cxrbench.loaders.partition import Partition, hashed, uniforms
from cxrbench.loaders.request import Request
from cxrbench.loaders.workers import end_workers, new_loader, results
from cxrbench.views import NUM_DRAWS, VIEWS

SHUFFLED = 1024  # images in a worker's buffer


class WebDataset(Stateless):
    def __init__(self, request: Request) -> None:
        self.request = request
        images = stored_images(request.data.samples.iloc[request.rows])
        # Shared with the workers, which stay from epoch to epoch.
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        name = request.data.manifest["encoding"]
        samples = Samples(
            request.data.folder, name, request.partition, images, request.view, request.config, self.epoch
        )
        self.loader = new_loader(request, samples, batch_size=None)

    def batches(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Ids]]:
        self.epoch.fill_(epoch)
        size, device = self.request.partition.size, self.request.device
        for number, (images, ids) in enumerate(self.whole_batches(size)):
            if number >= first:
                yield images.to(device, non_blocking=True), ids

    def whole_batches(self, size: int) -> Iterator[tuple[Tensor, Ids]]:
        """Workers send what they have; the rest is carried over, and the last batch padded."""
        steps, images, ids = self.request.partition.steps, torch.empty(0, dtype=torch.uint8), np.empty(0, np.int64)
        for more, their_ids in results(self.loader):
            images = torch.cat([images, more]) if len(images) else more
            ids = np.concatenate([ids, their_ids.numpy()])
            while len(ids) >= size:
                yield images[:size], ids[:size]
                images, ids, steps = images[size:], ids[size:], steps - 1
        for _ in range(steps):
            padding = torch.zeros((size - len(ids), *more.shape[1:]), dtype=torch.uint8)
            yield torch.cat([images, padding]), ids
            images, ids = images[:0], ids[:0]

    def key(self) -> dict[str, Any]:
        return {"threads": self.request.num_threads}  # each reads tars of its own

    def close(self) -> None:
        end_workers(self.loader)


@dataclass
class Samples(IterableDataset[Any]):
    """What one worker reads."""

    folder: Path
    encoding: str
    partition: Partition
    images: list[StoredImage]  # of the partition's ids
    view: str
    config: ViewConfig
    shared_epoch: Tensor

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor] | str]:
        """Images and ids, a part of a batch at a time, so that a batch has some of each worker."""
        epoch, info = int(self.shared_epoch), get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        chunk, images, ids = -(self.partition.size // -workers), [], []
        try:
            for number, gray in self.read(epoch, worker, workers):
                images.append(gray)
                ids.append(number)
                if len(ids) == chunk:
                    yield self.viewed(images, np.array(ids), epoch)
                    images, ids = [], []
            if ids:
                yield self.viewed(images, np.array(ids), epoch)
        except DataError as error:
            yield str(error)
        except Exception as error:  # noqa: BLE001 - the library raises its own
            yield f"cannot read the shards; got {' '.join(str(error).split())}; cxrbench verify {self.folder}"

    def read(self, epoch: int, worker: int, workers: int) -> Iterator[tuple[int, np.ndarray]]:
        tars = np.array([image.shard for image in self.images])
        ids = self.partition.tar_order_ids(epoch, tars)
        places = np.searchsorted(self.partition.ids, ids).tolist()
        own = list(dict.fromkeys(tars[places].tolist()))[worker::workers]
        if not own:
            return
        wanted = {number: self.images[place] for number, place in zip(ids.tolist(), places, strict=True)}
        extension = encoding(self.encoding).extension

        def decode(sample: dict[str, Any]) -> tuple[int, np.ndarray]:
            number = int(sample["id"])
            gray = checked_pixels(sample[extension], self.encoding, wanted[number], self.folder)
            return number, shrink(gray, self.config.resize)

        stages = [
            wds.SimpleShardList([str(tar_path(self.folder, tar)) for tar in own]),
            wds.tarfile_to_samples(),
            wds.select(lambda sample: int(sample["id"]) in wanted),
        ]
        if self.partition.shuffle:
            seed = int(hashed("order", self.partition.seed, epoch, np.array([worker]))[0])
            stages.append(wds.shuffle(SHUFFLED, rng=random.Random(seed)))
        yield from wds.DataPipeline(*stages, wds.map(decode))

    def viewed(self, images: list[np.ndarray], ids: Ids, epoch: int) -> tuple[Tensor, Tensor]:
        draws = torch.from_numpy(uniforms(self.partition.seed, epoch, ids, NUM_DRAWS))
        take = VIEWS[self.view]
        if len({image.shape for image in images}) == 1:
            made = take(torch.from_numpy(np.stack(images))[:, None], self.config, draws)
        else:
            each = (torch.from_numpy(np.array(image))[None, None] for image in images)
            made = torch.cat([take(image, self.config, draws[i : i + 1]) for i, image in enumerate(each)])
        return made.contiguous(), torch.from_numpy(ids)
