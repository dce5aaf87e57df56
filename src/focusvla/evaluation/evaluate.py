"""Evaluation of a policy in the simulator, on all cores of one host or of several.

RESULTS/
├── results.jsonl       a line per episode, appended as it ends
├── protocol.json       the protocol's values
├── incidents.jsonl     a line per process that was lost and replaced; absent if none was
├── trajectories/       along each episode: actions, proprioception, and joint positions to draw pictures from at any time
├── observations/       what the policy saw in each episode that has a video
└── videos/             per task the first success, the first failure and the first `recorded_trials`

Players simulate and know no policy, one policy answers them all, and everything is written here: nothing but the policy
needs the checkpoint's files, and nothing but this process the folder.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from focusvla.config import EvaluationConfig
from focusvla.errors import ConfigurationError, WorkerError
from focusvla.evaluation.agenda import Agenda, plan_episodes
from focusvla.evaluation.episode_files import Kept, episode_file, read_trajectory
from focusvla.evaluation.episodes import PlannedEpisode, PlayedEpisode, PolicyTraits, Setting
from focusvla.evaluation.parts import identity_in_suite
from focusvla.evaluation.policies import GPU_BATCH, SILENCED, PolicySource, source_of
from focusvla.evaluation.results import VISION_BLIND, EpisodeResult, ResultsFile, worth_drawing
from focusvla.evaluation.scheduler import Incident, Job, Limits, Lost, Scheduler
from focusvla.simulation.actors import ActorSystem, ProcessSystem
from focusvla.simulation.environment import suite_task
from focusvla.storage import append_line, only_writer, publish_file, replace_json
from focusvla.suites import Protocol, protocol, protocol_of, protocols, suite_of
from focusvla.versions import versions
from focusvla_client import Spec

_OF_POLICY = ("checkpoint", "device", "policy", "conventions", "cameras", "chunk_length")
_NOT_RULES = (*_OF_POLICY, "source", "shard", "num_shards", "planned")
"""What `protocol.json` holds besides the values that results must share."""

_BROKEN_AT_FIRST = 8
"""So many episodes that broke before one was played end an evaluation: it is the machine that cannot play."""

Progress = Callable[[int, int, EpisodeResult | None, str], None]
"""Called with finished and all episodes, the latest result if there is one, and a remark, mostly empty."""
_USUAL = EvaluationConfig()


def _say_nothing(done: int, total: int, result: EpisodeResult | None, remark: str) -> None:
    pass


def evaluate_checkpoint(
    checkpoint: str | Path,
    output: str | Path,
    config: EvaluationConfig = _USUAL,
    on_progress: Progress = _say_nothing,
) -> list[EpisodeResult]:
    """Evaluate a checkpoint, or the newest of a training run, and write `output`; see `evaluate`. It is
    `focusvla.evaluate` for scripts, whose main module must be guarded by `if __name__ == "__main__"`, since episodes
    are played in processes of their own."""
    return evaluate(source_of(Path(checkpoint), config), config, Path(output), on_progress)


def evaluate(
    source: PolicySource,
    config: EvaluationConfig,
    output: Path,
    on_progress: Progress = _say_nothing,
) -> list[EpisodeResult]:
    """Evaluate the policy of `source` and write `output`; what is there already is not repeated.

    Raises:
        CheckpointError: the checkpoint cannot be loaded.
        ConfigurationError: unknown suite, task or protocol, or `output` holds results of something else.
        SpecMismatchError: the policy was trained for another environment.
        StorageError: `output` cannot be written.
        DataError: a trajectory in `output` is damaged.
        WorkerError: the policy's process dies again and again, or no episode can be played at all.
    """
    rules = protocol_of(config.suites, config.protocol)
    planned = plan_episodes(config, rules)
    system = _actor_system(config)
    num_players = min(config.workers or system.num_cores(), len(planned), source.max_players or len(planned))
    if config.executor == "ray":
        num_players = min(num_players, system.num_cores())  # more would wait for room
    scheduler = Scheduler(system, source, num_players, _limits(config, source))
    try:
        traits = scheduler.traits()
        _require_fitting(traits.spec, traits.chunk_length, config, rules)
        silenced = [control for control in config.controls if control in SILENCED]
        if silenced and not traits.attends:
            raise ConfigurationError(
                f"controls: expected none that silence a stream, got {', '.join(silenced)}. "
                + (
                    "Nothing inside a policy of --policy can be silenced."
                    if source.is_foreign
                    else "It does not attend."
                )
            )
        with only_writer(output, "evaluation"):
            record = _Record(output, config, rules, traits, source, planned, on_progress)
            agenda = record.agenda()
            for job, outcome in scheduler.run(agenda.next_job, record.note_incident):
                record.take(agenda, job, outcome)
                agenda.ended(job.label)
            record.require_played()
    finally:
        scheduler.close()
    return record.results


def _actor_system(config: EvaluationConfig) -> ActorSystem:
    if config.executor == "processes":
        return ProcessSystem()
    from focusvla.evaluation.ray_actors import RaySystem

    return RaySystem(config.ray_address)


def _limits(config: EvaluationConfig, source: PolicySource) -> Limits:
    return Limits(
        max_batch=config.max_batch or (1 if source.device == "cpu" else GPU_BATCH),
        max_wait_seconds=config.max_batch_wait_seconds,
        stall_seconds=config.stall_seconds,
    )


def require_evaluable(spec: Spec, chunk_length: int, config: EvaluationConfig) -> None:
    """Raise unless a policy of `spec` can play all episodes of `config`.

    Raises:
        ConfigurationError: unknown suite, task or protocol, or more actions an inference than a chunk has.
        SpecMismatchError: the policy is for another environment.
    """
    rules = protocol_of(config.suites, config.protocol)
    plan_episodes(config, rules)
    _require_fitting(spec, chunk_length, config, rules)


def _require_fitting(spec: Spec, chunk_length: int, config: EvaluationConfig, rules: Protocol) -> None:
    actions_per_inference(config, rules, chunk_length)
    for suite in config.suites:
        there = suite_of(suite).spec(spec.cameras[0].height)
        spec.require_equal(there, "the policy", f"the environment of {suite}")


def actions_per_inference(config: EvaluationConfig, rules: Protocol, chunk_length: int) -> int:
    """How many actions of each chunk are carried out: as asked for, else as the protocol has it.

    Raises:
        ConfigurationError: more than the policy's chunk has.
    """
    steps = config.actions_per_inference or rules.actions_per_inference or chunk_length
    if steps > chunk_length:
        raise ConfigurationError(
            f"actions_per_inference={steps}: expected at most the policy's chunk of {chunk_length}."
        )
    return steps


class _Record:
    """The folder of an evaluation: what is in it, what is missing, and what arrives."""

    def __init__(
        self,
        output: Path,
        config: EvaluationConfig,
        rules: Protocol,
        traits: PolicyTraits,
        source: PolicySource,
        planned: Sequence[PlannedEpisode],
        on_progress: Progress,
    ):
        self._output, self._config, self._rules, self._planned = output, config, rules, planned
        self._of_task: dict[tuple[str, int], list[PlannedEpisode]] = {}
        for each in planned:
            self._of_task.setdefault((each.suite, each.task), []).append(each)
        self._on_progress = on_progress
        steps = actions_per_inference(config, rules, traits.chunk_length)
        self._actions_per_inference = steps
        self._traits, self._parts = traits, source.parts
        described = rules.to_dict() | source.described(traits)
        shared_out = {"shard": config.shard, "num_shards": config.num_shards, "planned": len(planned)}
        require_same_rules(output, described)
        self._file = ResultsFile(
            output / "results.jsonl",
            protocol=rules.name,
            protocol_revision=rules.revision,
            policy=traits.identity,
            actions_per_inference=steps,
            chunks=str(config.chunks),
            parts=source.parts,
        )
        replace_json(output / "protocol.json", described | shared_out | {"chunks": asdict(config.chunks)})
        self._finished = {PlannedEpisode.of(result): result for result in self._file.results}
        self._num_finished = len(self.results)
        if repaired := self._file.num_repaired_bytes:
            self._tell(
                None, f"{output / 'results.jsonl'}: removed an incomplete last line of {repaired} bytes"
            )
        if broken := self._file.num_broken:
            self._tell(
                None, f"plays again what broke: {broken} episode(s), moved to {output / 'broken.jsonl'}"
            )
        self._tell(None, "")
        self._has_played = bool(self._finished)
        self._num_broken = 0

    @property
    def results(self) -> list[EpisodeResult]:
        """Of the planned episodes, in their order."""
        return [self._finished[planned] for planned in self._planned if planned in self._finished]

    def agenda(self) -> Agenda:
        """What is still to be played and drawn."""
        agenda = Agenda()
        for episodes in self._of_task.values():
            missing = [planned for planned in episodes if planned not in self._finished]
            for planned in missing:
                if planned.condition != VISION_BLIND:
                    agenda.add(self._play_job(planned))
            self._draw_if_complete(agenda, episodes[0])
            clean = [planned.name for planned in episodes if not planned.condition]
            if blind := [planned for planned in missing if planned.condition == VISION_BLIND]:
                agenda.add_after(clean, partial(map, self._play_job, blind))
        return agenda

    def take(self, agenda: Agenda, job: Job, outcome: Any) -> None:
        """Write down what a job came to."""
        planned = job.episode
        assert planned is not None
        if job.method in ("draw_video", "recall"):
            if isinstance(outcome, Lost):  # a picture is no result: its absence is an incident and no more
                return
            if job.method == "recall":
                self._save("observations", planned, outcome)
            else:
                with publish_file(self._output / "videos" / job.label) as file:
                    file.write_bytes(outcome)
            return
        played = self._broken(planned, outcome.reason) if isinstance(outcome, Lost) else outcome
        if played.trajectory:
            self._save("trajectories", planned, played.trajectory)
        self._file.append(played.result)
        self._num_finished += planned not in self._finished
        self._finished[planned] = played.result
        self._has_played |= not played.result.error
        self._num_broken += bool(played.result.error)
        if self._num_broken >= _BROKEN_AT_FIRST and not self._has_played:
            raise self._nothing_can_be_played(played.result)
        self._tell(played.result, "")
        self._draw_if_complete(agenda, planned)

    def require_played(self) -> None:
        """Raise unless an episode was played to an end of its own.

        Raises:
            WorkerError: all broke, which says nothing of the policy.
        """
        if self._num_broken and not self._has_played:
            raise self._nothing_can_be_played(next(result for result in self.results if result.error))

    def _nothing_can_be_played(self, broken: EpisodeResult) -> WorkerError:
        return WorkerError(
            f"{self._num_broken} of {self._num_broken} episode(s) broke, and none was played: "
            f"{broken.error.strip().splitlines()[-1]} Mend that (`focusvla doctor` may say how); the same command then "
            f"plays them again. Tracebacks are in {self._output / 'results.jsonl'}."
        )

    def note_incident(self, incident: Incident) -> None:
        """Append a line to `incidents.jsonl`."""
        append_line(self._output / "incidents.jsonl", json.dumps(asdict(incident)))
        self._tell(None, f"{incident.what}, replaced: {incident.detail.strip().splitlines()[-1]}")

    def _tell(self, result: EpisodeResult | None, remark: str) -> None:
        self._on_progress(self._num_finished, len(self._planned), result, remark)

    def _setting(self, planned: PlannedEpisode) -> Setting:
        """With what the policy is called in the episode's suite."""
        identity = identity_in_suite(self._traits.identity, self._parts, planned.suite)
        traits = replace(self._traits, identity=identity)
        return Setting(self._rules, self._actions_per_inference, traits, self._config.chunks)

    def _play_job(self, planned: PlannedEpisode) -> Job:
        return Job(
            method="begin",
            arguments=(self._setting(planned), planned, self._stand_in(planned)),
            group=(planned.suite, planned.task),
            label=planned.name,
            episode=planned,
        )

    def _stand_in(self, planned: PlannedEpisode) -> np.ndarray | None:
        """The trajectory of the next trial that has one, whose pictures a vision-blind policy is shown."""
        if planned.condition != VISION_BLIND:
            return None
        others = [p for p in self._of_task[planned.suite, planned.task] if not p.condition]
        others.sort(key=lambda other: (other.trial <= planned.trial, other.trial))
        files = [self._trajectory(other) for other in others if other.trial != planned.trial]
        return next((read_trajectory(file)["snapshots"] for file in files if file.exists()), None)

    def _trajectory(self, planned: PlannedEpisode) -> Path:
        return episode_file(self._output, "trajectories", planned)

    def _draw_if_complete(self, agenda: Agenda, planned: PlannedEpisode) -> None:
        """Soon, while a process still has the task's environment."""
        if not self._config.videos or planned.condition:
            return
        clean = [p for p in self._of_task[planned.suite, planned.task] if not p.condition]
        if any(p not in self._finished for p in clean):
            return
        for result in worth_drawing([self._finished[p] for p in clean], self._config.recorded_trials):
            shown = PlannedEpisode.of(result)
            if self._trajectory(shown).exists():
                for job in self._drawing_jobs(shown, video_name(result)):
                    agenda.add(job, urgent=True)

    def _drawing_jobs(self, shown: PlannedEpisode, video: str) -> Iterator[Job]:
        trajectory = read_trajectory(self._trajectory(shown))
        group, setting = (shown.suite, shown.task), self._setting(shown)
        if not (self._output / "videos" / video).exists():
            size = self._config.video_size or setting.traits.spec.cameras[0].height
            arguments = (setting, shown, trajectory["snapshots"], size)
            yield Job(method="draw_video", arguments=arguments, group=group, label=video, episode=shown)
        is_complete = "actions" in trajectory  # of an earlier version it has joint positions only
        observations = episode_file(self._output, "observations", shown)
        if setting.traits.cameras and is_complete and not observations.exists():
            arguments = (setting, shown, trajectory)
            label = f"{shown.name}-observations"
            yield Job(method="recall", arguments=arguments, group=group, label=label, episode=shown)

    def _broken(self, planned: PlannedEpisode, reason: str) -> PlayedEpisode:
        """The result of an episode that no player could finish."""
        setting = self._setting(planned)
        result = EpisodeResult(
            suite=planned.suite,
            task=planned.task,
            instruction=suite_task(planned.suite, planned.task).instruction,
            trial=planned.trial,
            condition=planned.condition,
            seed=self._rules.start(planned.suite, planned.trial).seed,
            success=False,
            steps=0,
            inferences=0,
            seconds=0.0,
            protocol=self._rules.name,
            protocol_revision=self._rules.revision,
            policy=setting.traits.identity,
            actions_per_inference=setting.actions_per_inference,
            words=planned.words,
            perturbation=planned.perturbation,
            chunks=str(setting.chunks),
            error=reason,
            versions=versions(),
        )
        return PlayedEpisode(result, {})

    def _save(self, kept: Kept, planned: PlannedEpisode, tensors: dict[str, np.ndarray]) -> None:
        with publish_file(episode_file(self._output, kept, planned)) as file:
            save_file(tensors, file)


def require_same_rules(folder: Path, described: dict[str, Any]) -> None:
    """Raise unless what a folder says of its protocol, if it does, is what `described` says.

    Raises:
        ConfigurationError: naming the values that differ.
    """
    file = folder / "protocol.json"
    if not file.exists() or not (folder / "results.jsonl").exists():
        return
    found, here = (_complete(each) for each in (json.loads(file.read_text("utf-8")), described))
    differing = [
        f"{name}: {found.get(name)!r} there, {value!r} here"
        for name, value in here.items()
        if name not in _NOT_RULES and found.get(name) != value
    ]
    if found.get("fewer_triangles"):  # which once left out some that are seen
        differing.append("fewer_triangles: True there")
    if differing:
        raise ConfigurationError(
            f"{folder} holds results of other rules ({'; '.join(differing)}). Choose another output folder."
        )


def _complete(described: dict[str, Any]) -> dict[str, Any]:
    """A protocol's values with those that had no field when they were written."""
    known = {}
    if described.get("name") in protocols():
        known = protocol(described["name"], described.get("revision", 1)).to_dict()
    return json.loads(json.dumps(known | described))


def video_name(result: EpisodeResult) -> str:
    """File name of an episode's video."""
    return f"{PlannedEpisode.of(result).name}-{'success' if result.success else 'failure'}.mp4"
