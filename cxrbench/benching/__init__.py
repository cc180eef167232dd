"""Benchmarks put together: from what was asked for to cases that are measured in turn."""
