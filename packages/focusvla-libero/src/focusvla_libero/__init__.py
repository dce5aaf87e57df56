"""One policy for the forty tasks of LIBERO: `focusvla evaluate --checkpoint libero`."""

from pathlib import Path

CHECKPOINT = Path(__file__).parent / "checkpoint"
"""Its folder, as `focusvla train` writes them."""
