"""From the PNGs of NIH ChestX-ray14 to an AUROC table that can be trusted. For research, not for diagnosis."""

__version__ = "0.1.0"
