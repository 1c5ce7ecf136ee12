"""Training: batches, the loop, its checkpoints and the run folder."""
