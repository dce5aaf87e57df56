"""How a policy is evaluated, by name: the values that must agree before two success rates may be compared."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from focusvla.config.suites import SUITES, clean_suite
from focusvla.errors import ConfigurationError, require_known
from focusvla.simulation.environment import Start


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One way of evaluating; saved with every result."""

    name: str
    revision: int = 1
    """Counts the rules that this name has had; results of different revisions are not compared."""
    source: str
    """Where the values come from."""
    max_steps: Mapping[str, int]
    """Policy steps per suite, settling not counted."""
    settle_steps: int
    trials_per_task: int
    environment_seed: int
    """Seeds what a reset draws besides the init state, which is where cabinets, stoves and racks stand."""
    seeding: Literal["each_trial", "each_trial_alike", "each_task"] = "each_trial"
    """When it does. `each_trial`: before trial n's reset, plus n; `each_trial_alike`: the same for all trials;
    `each_task`: once, and the resets of the task's trials draw on, one after the other."""
    scenes_before: int = 0
    """Scenes that the published loop has built before its first reset; 0 for one whose resets build none."""
    uses_init_states: bool = True
    """Whether trial n begins at the benchmark's init state n, or at what a reset draws from its seed."""
    displacement_meters: Mapping[str, float] = field(default_factory=dict)
    """Per suite: each movable object that the task names is moved by up to this much along x and y each."""
    actions_per_inference: int = 8
    """Actions of each chunk that are carried out before the policy is asked again, unless the user says otherwise; 0 for
    all of them."""
    drawn_size: int = 0
    """Side in pixels of the pictures that the simulator draws; 0 for the size that the policy was trained with."""
    sent_size: int = 0
    """Side in pixels to which they are resized (bilinear) on their way to the policy; 0 for none."""
    gripper: Literal["sign", "binarized"] = "sign"
    """LIBERO's gripper takes the sign of what a policy says, and stays as it is at exactly 0. `binarized`: 0 closes."""

    def start(self, suite: str, trial: int) -> Start:
        """Where trial `trial` of a task of `suite` begins."""
        return Start(
            init_state=trial if self.uses_init_states else None,
            seed=self.environment_seed + (trial if self.seeding == "each_trial" else 0),
            resets_before=trial if self.seeding == "each_task" else 0,
            scenes_before=self.scenes_before,
            displacement_meters=self.displacement_meters.get(clean_suite(suite), 0.0),
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

_OPENVLA = Protocol(
    name="libero_openvla",
    revision=2,
    source="OpenVLA's, OpenVLA-OFT's and VLA-Adapter's run_libero_eval.py: 10 settle steps, 50 init states a task, "
    "env.seed(0) once a task, 8 actions of a chunk",
    max_steps=_MAX_STEPS,
    settle_steps=10,
    trials_per_task=50,
    environment_seed=0,
    seeding="each_task",
    scenes_before=1,
)

PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        _OPENVLA,
        replace(
            _OPENVLA,
            name="libero_openpi",
            revision=1,
            source="openpi's examples/libero/main.py: env.seed(7) once a task, 5 actions of a chunk, pictures drawn at "
            "256 pixels and sent at 224",
            environment_seed=7,
            actions_per_inference=5,
            drawn_size=256,
            sent_size=224,
        ),
        replace(
            _OPENVLA,
            name="libero_lerobot",
            revision=1,
            source="lerobot 0.4.4, envs/libero.py and lerobot_eval with as many environments as episodes: seed 1000 plus "
            "the trial at each reset, 280 steps for libero_spatial",
            max_steps=_MAX_STEPS | {"libero_spatial": 280},
            environment_seed=1000,
            seeding="each_trial",
            scenes_before=2,
            actions_per_inference=0,
            drawn_size=256,
        ),
        replace(
            _OPENVLA,
            name="libero_vla_eval",
            revision=1,
            source="vla-eval 0.8.0, its LIBERO benchmark, not sharded: env.seed(7) once a task, pictures of 256 pixels",
            environment_seed=7,
            drawn_size=256,
            gripper="binarized",
        ),
        replace(
            _OPENVLA,
            name="libero_wide",
            revision=1,
            source="this project: libero_openvla with what the task names displaced, so that a policy must look",
            environment_seed=1_000_000,
            seeding="each_trial",
            scenes_before=0,
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

_EARLIER = {
    ("libero_openvla", 1): replace(_OPENVLA, revision=1, seeding="each_trial_alike", scenes_before=0),
}
"""Rules that a name had before: fixtures stood alike in all 50 trials of a task."""


def protocol(name: str, revision: int | None = None) -> Protocol:
    """The protocol of that name; an earlier revision to show results of before as they were.

    Raises:
        ConfigurationError: there is none; the nearest names are given, or that the revision is of another version.
    """
    require_known("protocol", name, PROTOCOLS)
    newest = PROTOCOLS[name]
    if revision is None or revision == newest.revision:
        return newest
    if (name, revision) not in _EARLIER:
        raise ConfigurationError(
            f"protocol_revision={revision}: expected at most {newest.revision}, which this version of focusvla knows of "
            f"{name}. Use the version that made these results."
        )
    return _EARLIER[name, revision]
