"""What a suite of tasks is: all that evaluation, demonstrations, data and tables must know of it, in one row."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from focusvla.suites.protocol import Protocol
from focusvla.suites.published import PublishedScores
from focusvla_client import Spec


@dataclass(frozen=True)
class Conventions:
    """Conventions of data sets and policies that have a name, such as the `libero` of `--spec libero`."""

    name: str
    make: Callable[..., Spec]
    """Called with the numbers of an image size: one for square images, height and width for others."""
    published_size: tuple[int, ...]
    """Pixels, as in the published data sets."""


@dataclass(frozen=True)
class Variant:
    """A suite that was made from another, to see what a policy stands."""

    axis: str
    """What differs, in words."""
    order: tuple[int, ...] = ()
    """Where its tasks are listed in another order: the number there of each task of the suite."""
    is_complete: bool = True
    """Whether all tasks can be played, so that `--robustness` plays them."""


@dataclass(frozen=True, kw_only=True)
class Suite:
    """One row. Where a class is named, the simulator is imported only when it is asked for."""

    name: str
    conventions: Conventions
    """Of the simulator's observations and actions."""
    robot: str
    """What a data set calls it."""
    environment: str = ""
    """`module:Class` of the `focusvla.simulation.environment.SimulatedEnvironment`; empty where episodes are played in
    the simulator's own Python."""
    expert: str = ""
    """`module:Class` of a policy that is made from the environment and solves its task; empty where nobody has written
    one."""
    demonstration_steps: int = 0
    """Control steps after which a scripted attempt has failed: its detours count."""
    displacement_meters: float = 0.0
    """How far what a task names is displaced along x and y each, where a policy must look: at most what the scripted
    expert still solves, and so that "next to the plate" stays next to it."""
    arm_displacement_meters: float = 0.0
    """How far from home the arm begins in demonstrations."""
    variants: Mapping[str, Variant] = field(default_factory=dict)
    """By the end of their names: `_with_mug` of `libero_goal_with_mug`."""
    protocols: tuple[Protocol, ...] = ()
    """Ways of evaluating it here, the usual one first: at least one where there is an environment."""
    published: PublishedScores | None = None
    """What others reached in it."""
    expert_solves: Mapping[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)
    """By protocol: the scripted expert's successes and starts, task by task, where they were measured."""

    def spec(self, *image_size: int) -> Spec:
        """The conventions of its observations and actions, with images of that size."""
        return self.conventions.make(*image_size)
