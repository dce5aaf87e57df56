"""What is recorded and evaluated in a simulator."""

from dataclasses import dataclass

from focusvla.config.checks import require as _require


@dataclass(frozen=True, kw_only=True)
class DemonstrationConfig:
    """What scripted experts record. Starts are fresh resets, never the benchmark's own init states."""

    suite: str = "libero_object"
    """Name of a LIBERO suite with scripted experts."""
    tasks: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    """Numbers of the tasks in the suite."""
    episodes_per_task: int = 50
    """Successful episodes to keep."""
    seed: int = 0
    """All randomness of attempt n at a task is a function of this seed, the task and n."""
    displacement_meters: float = 0.08
    """The target is moved by up to this much along x and y each; 0 for suites whose objects stand on and in others."""
    undisplaced_share: float = 0.0
    """Share of the attempts whose target stays where the reset leaves it."""
    arm_displacement_meters: float = 0.08
    """In two of three attempts the arm begins up to this far from its home."""
    noise: float = 0.2
    """Greatest standard deviation of the Ornstein-Uhlenbeck noise on executed actions, in units of full
    command; each attempt draws 0, half or all of it. Recorded actions are the expert's own."""
    pushes: bool = True
    """Whether the open hand is now and then pushed aside, twice in an attempt: the way back is what is learned."""
    max_steps: int = 280
    """Control steps after which an attempt has failed."""
    image_size: int = 256
    """Side of the recorded images in pixels."""
    mesh_cell_meters: float = 0.0
    """Draw meshes simplified to this detail, 0 for the benchmark's own; 0.004 is twice as fast, at 1/255 a
    pixel."""
    steps_per_picture: int = 1
    """Control steps between drawn pictures. The frames between repeat the last one, as those of a camera do that is
    slower than control; the data set says so, and training takes the drawn ones."""
    workers: int = 0
    """Recording processes; 0 means one per core."""

    def __post_init__(self):
        _require(len(self.tasks) > 0, "tasks", "at least one task number", self.tasks)
        _require(len(set(self.tasks)) == len(self.tasks), "tasks", "each task once", self.tasks)
        for field in ("episodes_per_task", "max_steps", "image_size", "steps_per_picture"):
            _require(getattr(self, field) > 0, field, "a positive number", getattr(self, field))
        _require(
            0 <= self.undisplaced_share <= 1, "undisplaced_share", "0 <= share <= 1", self.undisplaced_share
        )
        for field in (
            "displacement_meters",
            "arm_displacement_meters",
            "noise",
            "mesh_cell_meters",
            "workers",
        ):
            _require(getattr(self, field) >= 0, field, "0 or more", getattr(self, field))


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Which episodes a policy is evaluated on."""

    suite: str = "libero_object"
    """Name of a LIBERO suite."""
    tasks: tuple[int, ...] = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9)
    """Numbers of the tasks in the suite."""
    protocol: str = "libero_openvla"
    """`libero_openvla` (the published one) or `libero_wide` (targets displaced by up to 8 cm)."""
    trials: int = 0
    """Episodes per task, from init state 0 on; 0 means the protocol's number."""
    actions_per_inference: int = 8
    """Actions of each chunk that are carried out before the policy is asked again."""
    videos: bool = True
    """Whether to draw, per task, the first success and the first failure."""
    video_size: int = 128
    """Side in pixels of each camera's picture in a video."""
    workers: int = 0
    """Simulating processes; 0 means one per core."""

    def __post_init__(self):
        _require(len(self.tasks) > 0, "tasks", "at least one task number", self.tasks)
        for field in ("actions_per_inference", "video_size"):
            _require(getattr(self, field) > 0, field, "a positive number", getattr(self, field))
        for field in ("trials", "workers"):
            _require(getattr(self, field) >= 0, field, "0 or more", getattr(self, field))
