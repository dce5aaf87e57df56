"""Tasks, and where their episodes begin."""

from dataclasses import dataclass

REGIONS = ("object", "target", "gripper")
"""What a task is about, in this order: what is moved, where it goes, and what moves it."""


@dataclass(frozen=True)
class Task:
    """One task of a suite."""

    suite: str
    index: int
    name: str
    instruction: str
    num_init_states: int
    """Starts that the benchmark itself stored; 0 where it draws them from a seed."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where an episode begins."""

    init_state: int | None
    """Index into the benchmark's own init states (the test set), or None for a fresh reset drawn from
    `seed`."""
    seed: int = 0
    """Seeds everything drawn at reset."""
    resets_before: int = 0
    """Resets that drew from the same seed before this one: published loops seed a task once, not each trial."""
    scenes_before: int = 0
    """Scenes that such a loop had built before its first reset, where each reset builds another: all of them draw along
    (`focusvla.simulation.libero_resets`). 0 where resets build none."""
    displacement_meters: float = 0.0
    """Each movable object that the task names is moved by up to this much along x and y each, to where it stands free
    and within reach."""
    arm_displacement_meters: float = 0.0
    """The arm begins up to this far from its home along each axis; for demonstrations that show how to
    recover."""
    settle_steps: int = 10
    """Control steps of standing still before the policy begins."""
