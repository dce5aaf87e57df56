"""Playing one episode where the policy is elsewhere: a player asks, is answered, and in the end tells how it went.

Nothing here needs torch, so a simulating process holds a simulator and no model.
"""

import dataclasses
import hashlib
import tempfile
import time
import traceback
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from focusvla.config.chunks import OPEN_LOOP, ChunkConfig
from focusvla.data.video import encode_video
from focusvla.errors import RenderingError
from focusvla.evaluation.disturbances import Disturbed
from focusvla.evaluation.identity import PolicyIdentity
from focusvla.evaluation.motion import latency_steps, make_player, mean_jerk
from focusvla.evaluation.presentation import environment_of, shows_as_drawn
from focusvla.evaluation.results import LANGUAGE_BLIND, VISION_BLIND, EpisodeResult
from focusvla.evaluation.watched import KeptPictures, Pictures, Stopwatch, Watched
from focusvla.simulation.environment import only_environment, suite_tasks
from focusvla.simulation.trajectory import TrajectoryRecorder, asked_steps
from focusvla.suites import PERTURBED_SIZE, Perturbation, Protocol
from focusvla.versions import versions
from focusvla_client import Camera, Observation, Rollout, Spec, episode

VIDEO_EVERY_SECONDS = 0.2
"""Simulated time between frames of a rollout video."""


_VIDEO_QUALITY = 18
"""Constant rate factor: to be watched, not learned from."""


def steps_per_frame(control_rate_hz: float) -> int:
    """Control steps between the frames of a rollout video."""
    return max(1, round(VIDEO_EVERY_SECONDS * control_rate_hz))


@dataclass(frozen=True)
class PlannedEpisode:
    """Which episode is to be played."""

    suite: str
    task: int
    trial: int
    condition: str = ""
    """What the policy is kept from, a control such as `VISION_BLIND`; empty for nothing."""
    words: str = ""
    """What it reads in the instruction's place under `PARAPHRASED` and `PERTURBED`."""
    perturbation: str = ""
    """Name of what is changed under `PERTURBED`."""
    changed: Perturbation | None = field(default=None, compare=False)
    """That itself."""

    @property
    def name(self) -> str:
        """Stem of the episode's files."""
        condition = self.condition and f"-{self.condition}"
        if said := self.perturbation + self.words:
            condition += f"-{hashlib.sha256(said.encode()).hexdigest()[:12]}"
        return f"{self.suite}{condition}-task-{self.task:03d}-trial-{self.trial:03d}"

    @classmethod
    def of(cls, result: EpisodeResult) -> "PlannedEpisode":
        """The episode that `result` tells of."""
        return cls(
            result.suite, result.task, result.trial, result.condition, result.words, result.perturbation
        )


@dataclass(frozen=True)
class PolicyTraits:
    """What a player must know of the policy."""

    spec: Spec
    cameras: tuple[str, ...]
    """Those it looks through; none if it is blind."""
    chunk_length: int
    identity: PolicyIdentity
    attends: bool = False
    """Whether its layers attend, so that a stream can be silenced."""


@dataclass(frozen=True)
class Setting:
    """What all episodes of an evaluation share."""

    protocol: Protocol
    actions_per_inference: int
    traits: PolicyTraits
    chunks: ChunkConfig = OPEN_LOOP


@dataclass(frozen=True)
class Question:
    """A player's question: what to do now?"""

    episode: PlannedEpisode
    inference: int
    """How many were asked before in this episode."""
    observation: Observation


@dataclass(frozen=True)
class PlayedEpisode:
    """How an episode went, with what is kept of it."""

    result: EpisodeResult
    trajectory: dict[str, np.ndarray]
    """`snapshots` (steps + 1, joints) and `states` (steps + 1, state) before each action and at the end, `actions`
    (steps, action) float32, `asked` (inferences,) int64 the actions before each question; empty if it broke before the
    first action."""


class _Blinded:
    """An environment whose pictures are those of another episode, as they were as many steps after its start."""

    def __init__(self, environment: Any, stand_in: Float[np.ndarray, "steps joints"]):
        self._environment = environment
        self._stand_in = stand_in
        self._steps = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._environment, name)

    def apply(self, action: np.ndarray) -> None:
        self._steps += 1
        self._environment.apply(action)

    def observe(self, cameras: Sequence[str]) -> Observation:
        own = self._environment.observe(())
        if not cameras:
            return own
        shown = self._environment.replay_images(self._stand_in[min(self._steps, len(self._stand_in) - 1)])
        return dataclasses.replace(own, images={camera: shown[camera] for camera in cameras})


class _Redrawing:
    """Draws an episode's pictures anew, from its snapshots; the scene is set when the first is asked for."""

    def __init__(self, environment: Any, start: Any, snapshots: Float[np.ndarray, "steps joints"]):
        self._environment, self._start, self._snapshots = environment, start, snapshots
        self._is_set = False

    def __call__(self, step: int) -> Pictures:
        if not self._is_set:
            self._environment.reset(self._start)  # which places fixtures
            self._is_set = True
        return self._environment.replay_images(self._snapshots[step])


class EpisodePlayer:
    """Plays one episode at a time in this process's one environment."""

    def __init__(self):
        self._kept = KeptPictures()

    def begin(
        self,
        setting: Setting,
        planned: PlannedEpisode,
        stand_in: Float[np.ndarray, "steps joints"] | None = None,
    ) -> Question | PlayedEpisode:
        """Begin an episode, up to its first question. `stand_in` is the trajectory whose pictures a vision-blind policy
        sees.

        Raises:
            FocusVLAError: the environment cannot be built or drawn at all.
        """
        self._began = time.monotonic()
        self._setting, self._planned = setting, planned
        self._stopwatch, self._pictures = Stopwatch(), dict[int, Pictures]()
        rules, traits = setting.protocol, setting.traits
        if planned.changed and planned.changed.picture_noise and not rules.drawn_size:
            rules = dataclasses.replace(rules, drawn_size=PERTURBED_SIZE)
        with self._stopwatch.times("building"):
            self._environment = environment_of(rules, planned.suite, planned.task, traits.spec)
        self._start = dataclasses.replace(
            rules.start(planned.suite, planned.trial), perturbation=planned.changed
        )
        self._recorder = TrajectoryRecorder(self._environment)
        played: Any = Watched(self._environment, self._stopwatch)
        self._disturbed: Disturbed | None = None
        if rules.disturbed_steps is not None:
            played = self._disturbed = Disturbed(played, rules, (planned.task, planned.trial))
        if planned.condition == VISION_BLIND:
            if stand_in is None:
                return self._finish(
                    None, "no other trial of the task has pictures to show in place of this one's"
                )
            played = _Blinded(played, stand_in)
        self._playing: Generator[Observation, np.ndarray, Rollout] = episode(
            played,
            traits.cameras,
            self._start,
            max_steps=rules.max_steps_of(planned.suite),
            player=make_player(setting.chunks, setting.actions_per_inference, traits.spec),
            latency_steps=latency_steps(setting.chunks, traits.spec.control_rate_hz),
            observers=[self._recorder],
        )
        return self._continue(None)

    def proceed(self, chunk: Float[np.ndarray, "steps action"]) -> Question | PlayedEpisode:
        """Play what the policy answered, up to the next question or the episode's end."""
        self._stopwatch.add("answering", time.perf_counter() - self._asked)
        return self._continue(chunk)

    def abandon(self, reason: str) -> PlayedEpisode:
        """End the episode as broken: the policy could not answer."""
        self._playing.close()
        return self._finish(None, reason)

    def _continue(self, chunk: Float[np.ndarray, "steps action"] | None) -> Question | PlayedEpisode:
        try:
            observation = next(self._playing) if chunk is None else self._playing.send(chunk)
        except StopIteration as end:
            return self._finish(end.value, "")
        except RenderingError:  # it would meet every episode
            raise
        except Exception:  # noqa: BLE001 - one episode must not stop an evaluation; its traceback is in the results
            return self._finish(None, traceback.format_exc())
        self._pictures[len(self._recorder.actions)] = dict(observation.images)
        if self._planned.condition == LANGUAGE_BLIND:
            observation = dataclasses.replace(observation, instruction=self._another_instruction())
        if self._planned.words:
            observation = dataclasses.replace(observation, instruction=self._planned.words)
        self._asked = time.perf_counter()
        return Question(self._planned, len(self._recorder.asked), observation)

    def _another_instruction(self) -> str:
        """That of the next task of the suite which has other words; the last task's next is the first."""
        said = [task.instruction for task in suite_tasks(self._planned.suite)]
        others = said[self._planned.task + 1 :] + said[: self._planned.task]
        return next((words for words in others if words != said[self._planned.task]), "")

    def _finish(self, played: Rollout | None, error: str) -> PlayedEpisode:
        recorder, planned, setting = self._recorder, self._planned, self._setting
        disturbed = self._disturbed if self._disturbed and self._disturbed.kind else None
        result = EpisodeResult(
            suite=planned.suite,
            task=planned.task,
            instruction=self._environment.task.instruction,
            trial=planned.trial,
            condition=planned.condition,
            seed=self._start.seed,
            success=played is not None and played.success,
            steps=played.steps if played else len(recorder.snapshots),
            inferences=played.inferences if played else len(recorder.asked),
            seconds=round(time.monotonic() - self._began, 3),
            protocol=setting.protocol.name,
            protocol_revision=setting.protocol.revision,
            policy=setting.traits.identity,
            actions_per_inference=setting.actions_per_inference,
            error=error,
            versions=versions(),
            disturbance=disturbed.kind if disturbed else "",
            disturbed_at=disturbed.step if disturbed else None,
            closings_after=disturbed.closings if disturbed else None,
            words=planned.words,
            perturbation=planned.perturbation,
            chunks=str(setting.chunks),
            mean_jerk=mean_jerk(np.stack(recorder.states), setting.traits.spec) if played else None,
            seconds_by_activity={name: round(value, 3) for name, value in self._stopwatch.seconds.items()},
        )
        if not planned.condition and not error:
            self._kept.keep((planned.suite, planned.task), planned.trial, result.success, self._pictures)
        return PlayedEpisode(result, recorder.trajectory())

    def recall(
        self, setting: Setting, planned: PlannedEpisode, trajectory: dict[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """What the policy was asked about along an episode: `image.CAMERA` (inferences, height, width, 3) uint8 for each
        camera it looks through, and `state` (inferences, state)."""
        rules, cameras = setting.protocol, setting.traits.cameras
        environment = environment_of(rules, planned.suite, planned.task, setting.traits.spec)
        asked = asked_steps(trajectory, setting.actions_per_inference)
        draw = _Redrawing(environment, rules.start(planned.suite, planned.trial), trajectory["snapshots"])
        shown = self._kept.shown((planned.suite, planned.task), planned.trial, asked, draw)
        images = {f"image.{c}": np.stack([frame[c] for frame in shown]) for c in cameras}
        return images | {"state": trajectory["states"][asked]}

    def draw_video(
        self,
        setting: Setting,
        planned: PlannedEpisode,
        snapshots: Float[np.ndarray, "steps joints"],
        size: int,
    ) -> bytes:
        """All cameras side by side along an episode, `size` pixels each, as H.264 in MP4."""
        environment = only_environment(planned.suite, planned.task, size)
        stride = steps_per_frame(environment.spec.control_rate_hz)
        rules, cameras = setting.protocol, [camera.name for camera in environment.spec.cameras]
        draw = _Redrawing(environment, rules.start(planned.suite, planned.trial), snapshots)
        steps = range(0, len(snapshots), stride)
        were_seen = {*cameras} <= {*setting.traits.cameras} and shows_as_drawn(
            rules, setting.traits.spec, size
        )
        if were_seen:
            shown = self._kept.shown((planned.suite, planned.task), planned.trial, steps, draw)
        else:
            shown = [draw(step) for step in steps]
        frames = [np.concatenate([frame[camera] for camera in cameras], axis=1) for frame in shown]
        picture = Camera("all", *frames[0].shape[:2])
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "video.mp4"
            encode_video(file, frames, picture, environment.spec.control_rate_hz / stride, _VIDEO_QUALITY)
            return file.read_bytes()
