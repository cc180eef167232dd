"""The same from shards of 256 pixels."""

from functools import partial

import full

prepare = partial(full.prepare, size_px=256)
batches = full.batches
