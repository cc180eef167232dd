"""From the PNGs of NIH ChestX-ray14 to an AUROC table that can be trusted. For research, not for diagnosis."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cxrbench.data import open as open  # noqa: A004 - cxrbench.open, as torch has torch.load
    from cxrbench.scoring import score as score

__version__ = "0.1.0"
__all__ = ["__version__", "open", "score"]
WHERE = {"open": "cxrbench.data", "score": "cxrbench.scoring"}


def __getattr__(name: str) -> Any:
    """Imported only when used: the command line's help needs no torch."""
    if name in WHERE:
        return getattr(importlib.import_module(WHERE[name]), name)
    raise AttributeError(f"module 'cxrbench' has no attribute {name!r}")
