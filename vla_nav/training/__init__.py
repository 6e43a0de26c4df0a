"""Data and a variant become a checkpoint."""
