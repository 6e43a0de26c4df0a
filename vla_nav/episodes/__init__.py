"""Demonstrations on disk: bags, their recovery, datasets, and the reader for training."""
