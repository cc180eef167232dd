"""DALI's `run`, and the memory as it is: its iterators for torch would copy it."""

from collections.abc import Iterator

import numpy as np


class Epochs:
    def __init__(self, pipeline, batch_size: int) -> None:
        pipeline.build()
        self.pipeline = pipeline
        self.batch_size = batch_size
        self.num_images = pipeline.epoch_size("reader")

    def __iter__(self) -> Iterator[np.ndarray]:
        for start in range(0, self.num_images, self.batch_size):
            (images,) = self.pipeline.run()
            yield np.from_dlpack(images.as_tensor())[: self.num_images - start, :, :, 0]
