"""From batches to a checkpoint. Does not evaluate."""
