"""Where policies look."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from focusvla.cli.named_folders import named_folder
from focusvla.cli.output import say, say_device
from focusvla.cli.progress import bar
from focusvla.config import AS_STORED, GivenPictures
from focusvla.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True)
class FocusSource:
    """What is looked at: exactly one of a data set, an evaluation, the simulator, or pictures."""

    data: str | None = None
    """A data set, of which one episode is looked at."""
    episode: int = 0
    """Which of its episodes."""
    step: int | None = None
    """Which step of it alone; not given, every `every`th."""
    results: Path | None = None
    """Folder of an evaluation: the episodes whose observations it saved."""
    suite: str | None = None
    """A suite of the simulator, in which the first policy plays and all look."""
    task: tuple[int, ...] = (0,)
    """Numbers of its tasks."""
    trial: tuple[int, ...] = (0,)
    """Numbers of their starts."""
    protocol: str = ""
    """How they are played, see `focusvla evaluate`."""
    images: tuple[str, ...] = ()
    """One for each camera, as CAMERA=FILE, oriented as in training."""
    instruction: str | None = None
    """What is to be done, with `images`."""
    state: tuple[float, ...] | None = None
    """Proprioception with `images`, in the data set's units; the middle of the training data's range if not given."""
    every: int = 8
    """Control steps from one look to the next."""


_SOURCE = FocusSource()


def focus(
    checkpoints: tyro.conf.Positional[tuple[str, ...]],
    output: Path,
    source: Annotated[FocusSource, tyro.conf.arg(name="")] = _SOURCE,
    regions: bool = True,
    pictures: bool = True,
    statistics: tuple[str, ...] = (),
    device: str = "auto",
    given_pictures: Annotated[GivenPictures, tyro.conf.arg(name="pictures")] = AS_STORED,
) -> None:
    """Show where policies look, and measure how focused they are.

    Example: focusvla focus runs/mini --suite libero_object --task 2 --output focus

    Others: --data data/object --episode 3, or --results results/wide, or --images image=a.png image2=b.png
    --instruction "pick up the milk". Several checkpoints look at the same frames, side by side:
    focusvla focus cascaded=runs/mini mixed=runs/mini_mixed --suite libero_object --task 2 3 --trial 0 1 2 --output focus

    Args:
        checkpoints: Folders of checkpoints or training runs, each as NAME=FOLDER or FOLDER, whose name is then the
            folder's.
        output: Folder to write, which must not exist yet: focus.md, focus.json, and each policy's pictures, videos and
            attention.
        source: What is looked at.
        regions: Whether to measure, with `results`, how much attention lies on the task's object, its target and the
            gripper, which needs the simulator.
        pictures: Whether to draw.
        statistics: Of policies of a mixture: the robot, as SUITE=PART or PART.
        device: Where policies answer: `auto` (a GPU if any), `cpu`, `cuda`...
        given_pictures: What policies do to pictures, where their checkpoints say nothing of it.
    """
    from focusvla.visualization.focus_study import study_focus

    if output.exists():
        raise ConfigurationError(
            f"output={output}: expected a folder that does not exist yet. Choose another."
        )
    folders = _named_folders(checkpoints)
    _require_one(source)
    in_suites = _policies(folders, _suites(source), statistics, say_device(device), given_pictures)
    policies = next(iter(in_suites.values()))
    num_episodes, frames = _frames(source, next(iter(policies.values())), regions)
    done: list[str] = []
    with bar("focus") as shown:

        def on_episode(episode: str) -> None:
            done.append(episode)
            shown.update(len(done), num_episodes, episode)

        tables = study_focus(
            policies,
            frames,
            output,
            about={"checkpoints": _as_text(folders), "source": _as_text(vars(source))},
            in_suites=in_suites,
            with_pictures=pictures,
            on_episode=on_episode,
        )
    say(tables)
    say(f"focus: {output}")


def _named_folders(texts: tuple[str, ...]) -> dict[str, Path]:
    """Folders by name, of which there is at least one and each has a name of its own."""
    folders: dict[str, Path] = {}
    for text in texts:
        name, folder = named_folder(text, "checkpoints")
        if name in folders:
            raise ConfigurationError(
                f"checkpoints: expected a name of its own for each, got {name!r} for {folders[name]} and {folder}. "
                f"Name one, as in mine={folder}."
            )
        folders[name] = folder
    if not folders:
        raise ConfigurationError(
            "checkpoints: expected at least one, got none. Train one with `focusvla train`."
        )
    return folders


def _require_one(source: FocusSource) -> None:
    given = [name for name in ("data", "results", "suite", "images") if getattr(source, name)]
    if len(given) != 1:
        raise ConfigurationError(
            f"focus: expected one of --data, --results, --suite and --images, got {' and '.join(given) or 'none'}."
        )
    if source.every < 1:
        raise ConfigurationError(f"every: expected a positive number of steps, got {source.every}.")
    for name, numbers in (("task", source.task), ("trial", source.trial)):
        if source.suite and not numbers:
            raise ConfigurationError(f"{name}: expected at least one number with --suite, got none.")
    if source.images and source.instruction is None:
        raise ConfigurationError("instruction: expected one with --images, got none. Say what is to be done.")


def _suites(source: FocusSource) -> list[str]:
    """Those of the episodes that are looked at, if they are of any."""
    from focusvla.evaluation.episode_files import observed_episodes

    if source.results:
        return sorted({result.suite for result in observed_episodes(source.results)})
    return [source.suite] if source.suite else []


def _policies(
    folders: Mapping[str, Path],
    suites: Sequence[str],
    statistics: Sequence[str],
    device: str,
    pictures: GivenPictures,
) -> dict[str, dict[str, Any]]:
    """By suite, or under an empty name if there is none, all policies by name, each as its suite's robot."""
    from focusvla.checkpoint import open_checkpoint
    from focusvla.evaluation.parts import choose_parts
    from focusvla.policy import load_policy
    from focusvla.suites import clean_suite

    found: dict[str, dict[str, Any]] = {suite: {} for suite in suites or [""]}
    for name, folder in folders.items():
        known = open_checkpoint(folder).statistics
        if suites:
            parts = choose_parts(known.parts, suites, statistics)
        else:
            if len(statistics) > 1:
                raise ConfigurationError(
                    f"statistics: expected one part where no suite is shown, got {', '.join(statistics)}."
                )
            parts = dict(zip([""], statistics, strict=False))
        chosen = {suite: parts.get(clean_suite(suite)) for suite in found}
        policy = load_policy(folder, device, next(iter(chosen.values())), pictures)
        for suite, part in chosen.items():
            found[suite][name] = policy.with_statistics(known.choose(part))
    return found


def _as_text(values: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, JSON-ready."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in values.items() if value}


def _frames(source: FocusSource, policy: Any, regions: bool) -> tuple[int, Iterator[Any]]:
    """How many episodes are looked at, and their frames."""
    import numpy as np

    from focusvla.data.formats.opening import open_source
    from focusvla.evaluation.episode_files import observed_episodes
    from focusvla.evaluation.episodes import PlannedEpisode
    from focusvla.suites import protocol_of
    from focusvla.visualization.focus_frames import (
        frame_of_images,
        frames_of_data,
        frames_of_results,
        frames_of_simulation,
    )

    if source.data:
        recorded = open_source(source.data)
        return 1, frames_of_data(recorded, source.episode, source.step, source.every)
    if source.results:
        saved = observed_episodes(source.results)
        return len(saved), frames_of_results(source.results, regions)
    if source.suite:
        episodes = [
            PlannedEpisode(source.suite, task, trial) for task in source.task for trial in source.trial
        ]
        rules = protocol_of([source.suite], source.protocol)
        return len(episodes), frames_of_simulation(policy, episodes, rules, source.every)
    files = {}
    for text in source.images:
        camera, equals, path = text.partition("=")
        if not equals:
            raise ConfigurationError(f"images: expected CAMERA=FILE, got {text!r}.")
        files[camera] = Path(path)
    state = policy.middle_state if source.state is None else np.array(source.state, np.float32)
    return 1, iter([frame_of_images(files, source.instruction or "", state, policy.spec)])
