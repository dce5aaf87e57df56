"""How a policy is evaluated, by name: the values that must agree before two success rates may be compared."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
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
    """Seeds what a reset draws besides the init state; trial n of a protocol without init states, or with displaced
    objects, uses this plus n."""
    uses_init_states: bool = True
    """Whether trial n begins at the benchmark's init state n, or at what a reset draws from its seed."""
    displacement_meters: Mapping[str, float] = field(default_factory=dict)
    """Per suite: each movable object that the task names is moved by up to this much along x and y each."""

    def start(self, suite: str, trial: int) -> Start:
        """Where trial `trial` of a task of `suite` begins."""
        displacement = self.displacement_meters.get(clean_suite(suite), 0.0)
        return Start(
            init_state=trial if self.uses_init_states else None,
            seed=self.environment_seed
            + (trial if self.displacement_meters or not self.uses_init_states else 0),
            displacement_meters=displacement,
            settle_steps=self.settle_steps,
        )

    def max_steps_of(self, suite: str) -> int:
        """Policy steps allowed in `suite`.

        Raises:
            ConfigurationError: the protocol does not cover the suite.
        """
        if clean_suite(suite) not in self.max_steps:
            others = [other.name for other in PROTOCOLS.values() if clean_suite(suite) in other.max_steps]
            raise ConfigurationError(
                f"suite={suite!r}: protocol {self.name!r} covers {', '.join(self.max_steps)}"
                + (f"; {' or '.join(others)} covers it." if others else ".")
            )
        return self.max_steps[clean_suite(suite)]

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


def clean_suite(suite: str) -> str:
    """The suite that a variant of LIBERO-PRO was made from: `libero_goal_with_mug` is from `libero_goal`."""
    return next((clean for clean in _MAX_STEPS if suite == clean or suite.startswith(f"{clean}_")), suite)


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
            source="this project: libero_openvla with what the task names displaced, so that a policy must look",
            max_steps=_MAX_STEPS,
            settle_steps=10,
            trials_per_task=50,
            environment_seed=1_000_000,
            displacement_meters={
                "libero_spatial": 0.04,
                "libero_object": 0.08,
                "libero_goal": 0.06,
                "libero_10": 0.04,
            },
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
