"""Images to the device: several loaders, one contract (cxrbench.batch)."""
