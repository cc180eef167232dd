"""The network: gray images to one logit a finding, what of it learns, and what it learns from."""
