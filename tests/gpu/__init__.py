"""Tests that need an NVIDIA GPU; `scripts/gpu` runs them too."""
