"""From recorded episodes to batches. Never sees the model."""
