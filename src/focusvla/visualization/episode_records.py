"""Episodes to look at: which ones, and everything that an evaluation kept of them, with where its policy looked."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from focusvla.checkpoint import open_checkpoint
from focusvla.errors import CheckpointError, ConfigurationError
from focusvla.evaluation.episode_files import (
    asked_in,
    episode_file,
    read_observations,
    read_trajectory,
)
from focusvla.evaluation.episodes import PlannedEpisode
from focusvla.evaluation.evaluate import video_name
from focusvla.evaluation.identity import PolicyIdentity
from focusvla.evaluation.results import EpisodeResult
from focusvla.policy import FocusVLAPolicy, load_policy
from focusvla.suites import suite_of
from focusvla.visualization.focus_grids import FocusGrids, capture_grids
from focusvla.visualization.focus_pictures import observation_file
from focusvla.visualization.report_contents import EvaluationContents
from focusvla_client import Observation, Spec

Progress = Callable[[int, int], None]
"""Called with finished and all inferences whose focus is captured."""


@dataclass(frozen=True)
class DrawnEpisode:
    """An episode that was drawn, and whose it is."""

    contents: EvaluationContents
    result: EpisodeResult

    @property
    def video(self) -> Path:
        """All cameras side by side."""
        return self.contents.evaluation.results / "videos" / video_name(self.result)

    @property
    def start(self) -> str:
        """Equal in the episodes of all policies that began in the same state."""
        result = self.result
        return f"{result.protocol}-{result.protocol_revision}/{result.suite}/{result.task}/{result.trial}/{result.seed}"

    @property
    def spec(self) -> Spec:
        """The conventions of its actions and states."""
        return suite_of(self.result.suite).spec(1)


@dataclass(frozen=True)
class EpisodeRecord:
    """What there is to look at in one episode."""

    drawn: DrawnEpisode
    actions: Float32[np.ndarray, "steps action"] | None
    """None if the evaluation did not keep them."""
    states: Float32[np.ndarray, "moments state"] | None
    """Proprioception before each action, and at the end; None if the evaluation did not keep it."""
    asked: Sequence[int]
    """Actions before each question to the policy."""
    grids: FocusGrids | None
    no_grids_because: str
    """A sentence if there are none; otherwise empty."""


def drawn_episodes(evaluations: Sequence[EvaluationContents]) -> list[DrawnEpisode]:
    """All episodes that have a video."""
    found = [DrawnEpisode(contents, result) for contents in evaluations for result in contents.episodes]
    return [episode for episode in found if episode.video.is_file()]


def choose_episodes(drawn: Sequence[DrawnEpisode], limit: int) -> list[DrawnEpisode]:
    """At most `limit` episodes, those from one start together: first the starts from which one policy failed and
    another succeeded, then those from which all failed, then the rest, each kind in turn from all tasks."""
    by_start: dict[str, list[DrawnEpisode]] = {}
    for episode in drawn:
        by_start.setdefault(episode.start, []).append(episode)
    seen: Counter[tuple[int, str, int]] = Counter()
    order = []
    for episodes in by_start.values():
        outcomes = {episode.result.success for episode in episodes}
        kind = 0 if len(outcomes) == 2 else 1 if outcomes == {False} else 2
        task = kind, episodes[0].result.suite, episodes[0].result.task
        order.append(((kind, seen[task], *task), episodes))
        seen[task] += 1
    order.sort(key=lambda ranked: ranked[0])
    return [episode for _, episodes in order for episode in episodes][:limit]


def read_records(
    chosen: Sequence[DrawnEpisode], device: str, on_progress: Progress = lambda done, total: None
) -> list[EpisodeRecord]:
    """Everything that there is of `chosen`; each evaluation's own checkpoint shows on `device` where it looked.

    Raises:
        DataError: a file of an evaluation is damaged.
        ConfigurationError: `device` cannot be used.
    """
    total = sum(e.result.inferences for e in chosen if observation_file(e.contents, e.result).is_file())
    done = 0

    def on_inference() -> None:
        nonlocal done
        done += 1
        on_progress(done, total)

    records: dict[int, EpisodeRecord] = {}
    for contents in {id(episode.contents): episode.contents for episode in chosen}.values():
        policies: dict[PolicyIdentity, FocusVLAPolicy | str] = {}
        for index, episode in enumerate(chosen):
            if episode.contents is not contents:
                continue
            grids, reason = None, _no_observations(episode)
            if not reason:
                called = episode.result.policy
                if called not in policies:
                    policies[called] = _own_policy(contents, called, device, policies.values())
                grids, reason = _capture(policies[called], episode, on_inference)
            trajectory = _read_trajectory(episode)
            actions, states = trajectory.get("actions"), trajectory.get("states")
            asked = asked_in(contents.evaluation.results, episode.result, episode.result.inferences)
            records[index] = EpisodeRecord(episode, actions, states, asked, grids, reason)
    return [records[index] for index in range(len(chosen))]


def _no_observations(episode: DrawnEpisode) -> str:
    if episode.contents.evaluation.is_blind:
        return "This policy sees nothing."
    if not observation_file(episode.contents, episode.result).is_file():
        return "The evaluation did not keep what the policy saw here."
    return ""


def _own_policy(
    contents: EvaluationContents,
    identity: PolicyIdentity,
    device: str,
    loaded: Iterable[FocusVLAPolicy | str],
) -> FocusVLAPolicy | str:
    """The policy that was evaluated, with the model of those `loaded` as another part's robot; or a sentence that says
    why it is not at hand."""
    if "policy" in contents.protocol:
        return f"{contents.protocol['policy']} is no checkpoint of ours: where it looked is its own matter."
    try:
        checkpoint = open_checkpoint(Path(contents.protocol["checkpoint"]))
        for policy in loaded:
            if isinstance(policy, str):
                return policy
            return policy.with_statistics(checkpoint.statistics.choose(identity.part or None))
        if checkpoint.digest != identity.weights:
            return "The evaluated checkpoint has changed since."
        return load_policy(checkpoint.folder, device, identity.part or None, identity.given_pictures)
    except CheckpointError:
        return "The evaluated checkpoint is not where it was."


def _capture(
    policy: FocusVLAPolicy | str, episode: DrawnEpisode, on_inference: Callable[[], None]
) -> tuple[FocusGrids | None, str]:
    if isinstance(policy, str):
        return None, policy
    path = observation_file(episode.contents, episode.result)
    images, states = read_observations(path, policy.cameras)
    observations = [
        Observation({camera: frames[index] for camera, frames in images.items()}, state, words)
        for index, state in enumerate(states)
        for words in [episode.result.instruction]
    ]
    try:
        return capture_grids(policy, observations, on_inference), ""
    except ConfigurationError as error:
        return None, f"There is nothing to show of this policy: {error}"


def _read_trajectory(episode: DrawnEpisode) -> dict[str, np.ndarray]:
    results, planned = episode.contents.evaluation.results, PlannedEpisode.of(episode.result)
    path = episode_file(results, "trajectories", planned)
    return read_trajectory(path) if path.is_file() else {}
