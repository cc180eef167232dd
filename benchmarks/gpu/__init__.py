"""What is worth running on a GPU machine: a module a step, each run by `scripts/gpu` in its own process."""
