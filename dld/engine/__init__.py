"""Training loop, hooks and checkpoints."""
