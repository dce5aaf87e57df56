"""How a policy is evaluated: the values that must agree before two success rates may be compared."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from focusvla.errors import ConfigurationError
from focusvla.suites.start import Start


def named_after(name: str, suites: Iterable[str]) -> str:
    """The suite that `name` is or is a variant of, as `libero_goal_with_mug` is of `libero_goal`; else `name` itself."""
    known = set(suites)
    return (
        name if name in known else max((s for s in known if name.startswith(f"{s}_")), key=len, default=name)
    )


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
    disturbed_steps: tuple[int, int] | None = None
    """Range from which it is drawn after how many policy steps the scene is disturbed, once in an episode; None for
    never. Environments then are `focusvla.simulation.environment.Disturbable`."""
    actions_per_inference: int = 8
    """Actions of each chunk that are carried out before the policy is asked again, unless the user says otherwise; 0 for
    all of them."""
    drawn_size: int = 0
    """Side in pixels of the pictures that the simulator draws; 0 for the size that the policy was trained with."""
    sent_size: int = 0
    """Side in pixels to which they are resized (bilinear) on their way to the policy; 0 for none."""
    gripper: Literal["sign", "binarized"] = "sign"
    """LIBERO's gripper takes the sign of what a policy says, and stays as it is at exactly 0. `binarized`: 0 closes."""

    def covers(self, suite: str) -> bool:
        """Whether `suite`, or the suite that it is a variant of, is played by these rules."""
        return named_after(suite, self.max_steps) in self.max_steps

    def start(self, suite: str, trial: int) -> Start:
        """Where trial `trial` of a task of `suite` begins."""
        return Start(
            init_state=trial if self.uses_init_states else None,
            seed=self.environment_seed + (trial if self.seeding == "each_trial" else 0),
            resets_before=trial if self.seeding == "each_task" else 0,
            scenes_before=self.scenes_before,
            displacement_meters=self.displacement_meters.get(named_after(suite, self.max_steps), 0.0),
            settle_steps=self.settle_steps,
        )

    def max_steps_of(self, suite: str) -> int:
        """Policy steps allowed in `suite`.

        Raises:
            ConfigurationError: the protocol does not cover the suite.
        """
        if not self.covers(suite):
            raise ConfigurationError(
                f"suite={suite!r}: protocol {self.name!r} covers {', '.join(self.max_steps)}. Name "
                "another, or none for the suite's usual one."
            )
        return self.max_steps[named_after(suite, self.max_steps)]

    def to_dict(self) -> dict[str, Any]:
        """All values, JSON-ready."""
        return asdict(self)
