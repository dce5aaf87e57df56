"""How a policy is evaluated, by name: the values that must agree before two success rates may be compared."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from focusvla.errors import ConfigurationError, require_known
from focusvla.simulation.environment import Start


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One way of evaluating; saved with every result."""

    name: str
    source: str
    """Where the values come from."""
    max_steps: Mapping[str, int]
    """Policy steps per suite, settling not counted."""
    settle_steps: int
    trials_per_task: int
    environment_seed: int
    """Seeds what a reset draws besides the init state; trial n of a displaced protocol uses this plus n."""
    displacement_meters: float = 0.0
    """The target is moved by up to this much along x and y each."""

    def start(self, trial: int) -> Start:
        """Where trial `trial` begins: at the benchmark's init state of that number."""
        return Start(
            init_state=trial,
            seed=self.environment_seed + (trial if self.displacement_meters else 0),
            displacement_meters=self.displacement_meters,
            settle_steps=self.settle_steps,
        )

    def max_steps_of(self, suite: str) -> int:
        """Policy steps allowed in `suite`.

        Raises:
            ConfigurationError: the protocol does not cover the suite.
        """
        if suite not in self.max_steps:
            raise ConfigurationError(
                f"suite={suite!r}: protocol {self.name!r} covers {', '.join(self.max_steps)}."
            )
        return self.max_steps[suite]

    def to_dict(self) -> dict[str, Any]:
        """All values, JSON-ready."""
        return asdict(self)


_MAX_STEPS = {
    "libero_spatial": 220,
    "libero_object": 280,
    "libero_goal": 300,
    "libero_10": 520,
    "libero_90": 400,
}

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            name="libero_openvla",
            source="OpenVLA's and VLA-Adapter's run_libero_eval.py: 10 settle steps, 50 init states a task, env seed 0",
            max_steps=_MAX_STEPS,
            settle_steps=10,
            trials_per_task=50,
            environment_seed=0,
        ),
        Protocol(
            name="libero_wide",
            source="this project: libero_openvla with the target displaced by up to 8 cm, so that a policy must look",
            max_steps=_MAX_STEPS,
            settle_steps=10,
            trials_per_task=50,
            environment_seed=1_000_000,
            displacement_meters=0.08,
        ),
    )
}


def protocol(name: str) -> Protocol:
    """The protocol of that name.

    Raises:
        ConfigurationError: there is none; the nearest names are given.
    """
    require_known("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]
