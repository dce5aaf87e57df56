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


PERTURBED_SIZE = 256
"""Side in pixels of the pictures that a perturbation's noise is described for."""


@dataclass(frozen=True, kw_only=True)
class Perturbation:
    """What a scene has otherwise than its task, in the manner of LIBERO-Plus."""

    name: str
    camera: tuple[int, int, int, int, int] = (0, 0, 100, 0, 0)
    """The scene's camera: degrees around the table, degrees up over it, percent of its distance, degrees turned on the
    spot about the vertical and about y."""
    arm_joints: tuple[float, ...] = ()
    """Radians in which a reset puts the arm, whose orientation its controller then holds; none for the usual ones. An
    init state has joints of its own: what remains of these is that the hand turns while the scene settles."""
    picture_noise: int = 0
    """Of the scene's camera: 1 to 10 motion blur, 11 to 20 Gaussian blur, to 30 zoom blur, to 40 fog, to 50 glass, ever
    stronger; 0 for none."""
    scene_file: str = ""
    """The task's file, where objects stand elsewhere; empty for its own."""
    arena_file: str = ""
    """What is around the objects, light included; empty for the task's own."""
    simulator_state: tuple[float, ...] = ()
    """Time, joint positions and velocities to begin with, in place of the init state."""


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
    perturbation: Perturbation | None = None
    """What is otherwise than in the task."""
