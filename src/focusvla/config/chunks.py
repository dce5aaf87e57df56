"""How chunks of actions become one action for each control step."""

from dataclasses import dataclass
from typing import Literal

from focusvla.config.checks import require as _require


@dataclass(frozen=True, kw_only=True)
class ChunkConfig:
    """What plays a policy's chunks, see `focusvla_client.chunks`, and how late they come."""

    player: Literal["open_loop", "overlapped", "blended", "ensembling"] = "open_loop"
    """`open_loop` plays the first actions of a chunk and asks then, as published protocols do; the others ask every
    `actions_per_inference` steps, while the chunk goes on."""
    latency_ms: int = 0
    """Simulated time from a question to its answer, rounded up to control steps. Until then the robot does what is left
    of earlier chunks, and where nothing is holds still."""
    blend_steps: int = 3
    """Control steps in which `blended` goes over to a new chunk."""
    decay: float = 0.01
    """Of `ensembling`, ACT's m: a larger one trusts old predictions more; 0 is the plain average."""

    def __post_init__(self):
        for field in ("latency_ms", "blend_steps", "decay"):
            value = getattr(self, field)
            _require(0 <= value < float("inf"), f"chunks.{field}", "0 or more", value)

    def __str__(self) -> str:
        """What results are called after; empty for what published protocols do."""
        numbers = {"blended": f" {self.blend_steps}", "ensembling": f" {self.decay:g}"}
        player = "" if self.player == "open_loop" else self.player + numbers.get(self.player, "")
        return ", ".join(said for said in (player, self.latency_ms and f"{self.latency_ms} ms late") if said)


OPEN_LOOP = ChunkConfig()
