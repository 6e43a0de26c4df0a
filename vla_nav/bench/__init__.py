"""How fast everything is, each figure beside another that was measured in the same run."""
