"""How a policy is evaluated, by name: the values that must agree before two success rates may be compared."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from focusvla.config.suites import SUITES, clean_suite
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


_LIBERO = {name: suite for name, suite in SUITES.items() if name.startswith("libero_")}
_MAX_STEPS = {name: suite.policy_steps for name, suite in _LIBERO.items()}

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
            displacement_meters={name: suite.displacement_meters for name, suite in _LIBERO.items()},
        ),
        Protocol(
            name="aloha_gym",
            source="gym-aloha: each trial's poses drawn by its own reset from seed 2,000,000 plus the trial; 400 steps",
            max_steps={"aloha": SUITES["aloha"].policy_steps},
            settle_steps=0,
            trials_per_task=50,
            environment_seed=2_000_000,
            uses_init_states=False,
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
