"""One pipeline of threads that goes on from epoch to epoch."""

from collections.abc import Iterator

import numpy as np
from spdl.pipeline import Pipeline, PipelineBuilder

NUM_BUFFERED = 2


class Epochs:
    def __init__(self, builder: PipelineBuilder, threads: int) -> None:
        self.pipeline: Pipeline = builder.add_sink(NUM_BUFFERED).build(num_threads=threads)
        self.close = self.pipeline.stop
        self.pipeline.start()

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(self.pipeline)
