"""Losses, optimizer, batches, the step and its loop, checkpoints."""
