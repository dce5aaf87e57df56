"""How a policy is served to robots."""

from dataclasses import dataclass

from focusvla.config.checks import require as _require
from focusvla.config.inference import AS_TRAINED, InferenceConfig
from focusvla.config.model import AS_STORED, GivenPictures


@dataclass(frozen=True, kw_only=True)
class ServingConfig:
    """Where a server listens, how it joins requests, and what it bears."""

    host: str = "127.0.0.1"
    """Address to listen at. Any but this machine's own needs keys in FOCUSVLA_API_KEY."""
    port: int = 8000
    """0 takes a free one, which is printed."""
    device: str = "auto"
    """Where the policy runs: `auto` (a GPU if there is one), `cpu`, `cuda` or another device of torch's."""
    inference: InferenceConfig = AS_TRAINED
    """How it runs there."""
    pictures: GivenPictures = AS_STORED
    """What it does to pictures, where its checkpoint says nothing of it."""
    statistics: str | None = None
    """Of a policy that was trained on a mixture: the part whose robot is served."""
    threads: int = 0
    """Threads of the CPU for one inference. 0: one for a small policy, where several mostly wait for each other, and long
    where anything else runs; as many as there are cores for a large one."""
    parts: int = 0
    """Parts of a batch computed side by side, each by `threads`. 0: as many as a CPU has cores for, 1 elsewhere."""
    max_batch: int = 16
    """Requests that are answered at once, at most."""
    max_batch_wait_seconds: float = 0.005
    """How long a request waits for those of other connected clients to share its batch."""
    max_queue: int = 64
    """Requests that wait, at most; one more is refused."""
    max_connections: int = 64
    """Clients at a time."""
    max_message_megabytes: float = 16.0
    """Size of a request, at most."""
    slow_reader_seconds: float = 10.0
    """A client that does not take its answer for so long is cut off."""
    ping_seconds: float = 20.0
    """Time between pings, and for which an answer is awaited before a client counts as gone."""
    drain_seconds: float = 10.0
    """After SIGTERM or Ctrl-C: how long accepted requests may take until the server ends without them."""

    def __post_init__(self):
        _require(0 <= self.port <= 65535, "port", "0..65535", self.port)
        for field in (
            "max_batch",
            "max_queue",
            "max_connections",
            "max_message_megabytes",
            "slow_reader_seconds",
            "ping_seconds",
            "drain_seconds",
        ):
            _require(getattr(self, field) > 0, field, "a positive number", getattr(self, field))
        for field in ("threads", "parts", "max_batch_wait_seconds"):
            _require(getattr(self, field) >= 0, field, "0 or more", getattr(self, field))
