"""From frames of the cache to input batches: augmentation, degradation, mixing."""
