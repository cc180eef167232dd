"""What torch tells on a page, in a line that says what to change."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cxrbench.config import RunConfig
from cxrbench.errors import CxrError

UNCOMPILED = ("InductorError", "BackendCompilerFailed")
OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "Cannot allocate memory")


def is_out_of_memory(error: Exception) -> bool:
    """On a CPU, torch raises no type of its own for it."""
    text = " ".join(str(error).split())
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(each in text for each in OUT_OF_MEMORY)


def of_batches(num_images: int, error: Exception) -> Exception:
    """In a line what to change, if it is memory."""
    if not is_out_of_memory(error):
        return error
    got = f"batches of {num_images}: {' '.join(str(error).split()):.160}"
    return CxrError("out of memory", got=got, do="give a smaller --batch")


@contextmanager
def told(config: RunConfig) -> Iterator[None]:
    """What torch tells on a page, in a line."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        text = str(error)
        if type(error).__name__ in UNCOMPILED:
            do = "it wants a C++ compiler (apt-get install g++) and, on a GPU, Triton; or leave --compile out"
            raise CxrError("torch.compile failed", got=f"{' '.join(text.split()):.160}", do=do) from error
        if not is_out_of_memory(error):
            raise
        half = config.train.batch // 2
        do = (
            f"--set train.batch={half} train.accumulate={config.train.accumulate * 2}"
            if half
            else "a smaller view.crop"
        )
        if config.view.train == "tencrop" and config.train.tencrop_chunk > 1:
            do += ", or train.tencrop_chunk=2"
        got = f"batches of {config.train.batch}: {' '.join(text.split())}"
        raise CxrError(
            "out of memory", got=f"{got:.160}", do=f"{do}; a smaller eval.batch if it was scoring"
        ) from error
