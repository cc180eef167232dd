"""Other people's loaders, each with its own requirements and a thin adapter; benchmarks.loader_rates runs them."""
