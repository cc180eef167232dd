"""`dali`: NVIDIA DALI on the GPU or the CPU, no cache; position and random numbers are in DALI's own checkpoints."""

import base64
import gc
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # DALI's OpenCV complains of every codec it lacks
from nvidia.dali import Pipeline

from cxrbench.dataset.pixels import stored_images, tar_path
from cxrbench.dataset.tar import filtered_index
from cxrbench.errors import CxrError, DataError
from cxrbench.loaders.dali_graph import Graph
from cxrbench.loaders.decoding import DecodedImages
from cxrbench.loaders.feed import Ids
from cxrbench.loaders.partition import hashed
from cxrbench.loaders.request import Request

DIGITS = 10 ** np.arange(15, -1, -1, dtype=np.int64)
FED = {"cpu": ("png", "htj2k", "jp2"), "gpu": ("png",)}  # decoded by our workers; the rest by DALI


class Dali:
    """One pipeline that runs on from epoch to epoch; built anew only where a jump is asked for."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.part = request.partition
        self.device = "gpu" if request.device.type == "cuda" else "cpu"
        self.is_fed = request.data.manifest["encoding"] in FED[self.device]
        self.indexes = Path(tempfile.mkdtemp(prefix="cxrbench-"))
        self.remove_indexes = weakref.finalize(self, shutil.rmtree, self.indexes, ignore_errors=True)
        self.tars = [] if self.is_fed else list(self.write_indexes())
        self.first_epoch = 0  # of this pipeline, or of those it goes on from
        self.start: tuple[int, str] = (0, "")  # the epoch at work, and the checkpoint at its beginning
        self.at = (-1, -1)  # the epoch, and how many of its batches the pipeline has delivered
        self.pipeline: Any = None
        self.source: DecodedImages | None = None
        self.build(0)

    def write_indexes(self) -> Iterator[tuple[str, str]]:
        """Every tar that has images of the part, with an index of just these."""
        rows = self.request.data.samples.iloc[self.request.rows]
        for shard in rows["shard"].unique().tolist():
            tar = tar_path(self.request.data.folder, shard)
            offsets = set(rows["offset"][rows["shard"] == shard].tolist())
            index = self.indexes / f"{tar.stem}.idx"
            index.write_text(filtered_index(tar.with_suffix(".idx"), offsets), encoding="ascii")
            yield str(tar), str(index)

    def build(self, epoch: int, checkpoint: str = "") -> None:
        """From the beginning of an epoch, or from a checkpoint."""
        self.end()
        if not checkpoint:
            self.first_epoch = epoch
        self.source = self.decoded()
        self.pipeline = Pipeline(
            batch_size=self.part.size,
            num_threads=self.request.num_threads,
            device_id=None if self.device == "cpu" else self.request.device.index,
            seed=self.seed(1 + self.part.rank),
            prefetch_queue_depth=self.request.num_prefetched,
            enable_checkpointing=True,
            checkpoint=base64.b64decode(checkpoint) if checkpoint else None,
        )
        with self.pipeline:
            self.pipeline.set_outputs(*self.graph().outputs())
        self.pipeline.build()
        if not checkpoint:
            self.at = (epoch, 0)

    def seed(self, number: int) -> int:
        """Augmentations differ by rank; in which order the tars come, all ranks must agree."""
        return int(hashed("order", self.part.seed, self.first_epoch, np.array([number]))[0] >> np.uint64(33))

    def graph(self) -> Graph:
        request, data = self.request, self.request.data
        shapes = data.shapes(request.rows)
        return Graph(
            encoding=data.manifest["encoding"],
            extension=data.encoding.extension,
            stored=shapes[0] if len(shapes) == 1 else None,
            device=self.device,
            view=request.view,
            config=request.config,
            resize=request.is_shrunk,
            shuffle=self.part.shuffle,
            tar_seed=self.seed(0),
            rank=self.part.rank,
            world=self.part.world,
            tars=[tar for tar, _ in self.tars],
            indexes=[index for _, index in self.tars],
            decoded=self.source,
        )

    def decoded(self) -> DecodedImages | None:
        if not self.is_fed:
            return None
        data, shapes = self.request.data, self.request.shapes
        return DecodedImages(
            folder=data.folder,
            encoding=data.manifest["encoding"],
            images=stored_images(data.samples.iloc[self.request.rows]),
            partition=self.part,
            size_px=self.request.config.resize,
            shape=shapes[0] if len(shapes) == 1 else None,
            first_epoch=self.first_epoch,
            threads=self.request.num_threads,
            ahead=self.request.num_prefetched,
        )

    def batches(self, epoch: int, first: int) -> Iterator[tuple[Tensor, Ids]]:
        self.go_to(epoch, first)
        for number in range(first, self.part.steps):
            self.at = (epoch, number + 1)
            images, *digits = self.run()
            start = number * self.part.size
            count = min(self.part.size, max(0, self.part.num_samples - start))
            ids = self.ids_of(digits[0])[:count] if digits else self.part.epoch_ids(epoch)[start : start + count]
            yield as_batch(images, self.request.config.crop), ids

    @property
    def num_runs(self) -> int:
        """Of an epoch; DALI pads every rank's images to whole batches of the longest."""
        longest = -(len(self.part.ids) // -self.part.world)
        return self.part.steps if self.is_fed else -(longest // -self.part.size)

    def go_to(self, epoch: int, batch: int) -> None:
        if (epoch, batch) == (self.at[0] + 1, 0) and self.at[1] == self.part.steps:
            for _ in range(self.part.steps, self.num_runs):  # what doesn't fill a batch on every rank
                self.run()
        elif self.at != (epoch, batch):
            self.build(epoch, self.start[1] if self.start[0] == epoch else "")
            for _ in range(batch):
                self.run()
        if batch == 0:
            self.start = (epoch, self.checkpoint() if epoch != self.first_epoch else "")

    def run(self) -> Any:
        stream = () if self.device == "cpu" else (torch.cuda.current_stream(self.request.device),)
        try:
            return self.pipeline.run(*stream)
        except Exception as error:  # DALI's own, or our decoder's
            self.end()
            raise error if isinstance(error, CxrError) else told(error, self.request.data.folder) from error

    @staticmethod
    def ids_of(digits: Any) -> Ids:
        ids: Ids = (digits.as_array().astype(np.int64) - ord("0")) @ DIGITS
        return ids

    def checkpoint(self) -> str:
        """Empty after a failure: then the epoch is read again up to where it was."""
        return base64.b64encode(self.pipeline.checkpoint()).decode("ascii") if self.pipeline else ""

    def key(self) -> dict[str, Any]:
        return {"decoded by": "threads" if self.is_fed else "DALI"}

    def state(self) -> dict[str, Any]:
        return {
            "checkpoint": self.checkpoint(),
            "at": list(self.at),
            "first_epoch": self.first_epoch,
            "start": list(self.start),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.first_epoch = state["first_epoch"]
        epoch, begun = state["start"]
        self.start = (epoch, begun)
        if state["checkpoint"]:
            self.build(self.first_epoch, state["checkpoint"])
            epoch, batch = state["at"]
            self.at = (epoch, batch)
        else:
            self.end()

    def end(self) -> None:
        """Threads and the GPU's memory go with the pipeline, which is in circles of references."""
        self.at = (-1, -1)
        if self.pipeline is not None:
            self.pipeline = None
            gc.collect()
        if self.source is not None:
            self.source.close()
            self.source = None

    def close(self) -> None:
        self.end()
        self.remove_indexes()


def told(error: Exception, folder: Path) -> CxrError:
    """DALI's reasons are many lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = next((line for line in lines if "rror" in line and "Critical" not in line), lines[0] if lines else "")
    return DataError("DALI cannot make the batch", got=reason, do=f"cxrbench verify {folder}, then cxrbench doctor")


def as_batch(images: Any, crop: int) -> Tensor:
    """DALI's memory as a tensor, not copied: DALI leaves it alone as long as the tensor lives."""
    tensor = torch.utils.dlpack.from_dlpack(images.as_tensor())
    shape = [len(tensor), 10, 1, crop, crop] if tensor.dim() == 5 else [len(tensor), 1, crop, crop]
    return tensor.view(shape)
