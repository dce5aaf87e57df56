"""Where policies look, moment by moment, written as a folder.

OUTPUT/
├── focus.json          every number: per frame, and in the mean over frames with an interval
├── focus.md            the means as tables, several policies side by side
└── NAME/               of each policy, per episode:
    ├── EPISODE.mp4                  camera, kept patches and attention along it, in real time
    ├── EPISODE-step-N-layers.png    at its first, middle and last frame: every layer
    ├── EPISODE-step-N-heads.png     and every head
    └── EPISODE.safetensors          attention and kept share of each (frames, layers, heads, patches)
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from focusvla.data.video import encode_video
from focusvla.policy import FocusVLAPolicy
from focusvla.storage import publish_folder, usual_mode
from focusvla.versions import versions
from focusvla.visualization.attention_maps import Look, look_into, require_looking
from focusvla.visualization.focus_drawing import draw_heads, draw_layers, draw_moment
from focusvla.visualization.focus_frames import Frame
from focusvla.visualization.focus_metrics import FrameFocus, measure
from focusvla.visualization.focus_tables import focus_tables, mean_by_layer
from focusvla_client import Camera


@dataclass(frozen=True)
class Study:
    """All numbers of several policies over the same frames."""

    episodes: list[str] = field(default_factory=list)
    """Of each frame."""
    steps: list[int] = field(default_factory=list)
    focus: dict[str, list[FrameFocus]] = field(default_factory=dict)
    """By policy, one for each frame."""


def study_focus(
    policies: Mapping[str, FocusVLAPolicy],
    frames: Iterable[Frame],
    output: Path,
    *,
    about: Mapping[str, Any],
    in_suites: Mapping[str, Mapping[str, FocusVLAPolicy]] = MappingProxyType({}),
    with_pictures: bool = True,
    on_episode: Callable[[str], None] = lambda episode: None,
) -> str:
    """Let every policy look at every frame, write `output` and return its tables as Markdown.

    `in_suites` has the same policies by suite, each as the robot there. `about` goes into `focus.json`. `on_episode` is
    called with each that is done.

    Raises:
        StorageError: `output` exists, or cannot be written.
        ConfigurationError: a policy is blind or does not attend, or the frames do not fit it.
        SpecMismatchError: a policy was trained under other conventions than those of a frame.
    """
    for policy in policies.values():
        require_looking(policy)
    study = Study(focus={name: [] for name in policies})
    with publish_folder(output) as folder:
        for episode, moments in groupby(frames, key=lambda frame: frame.episode):
            shown: list[Frame] = []
            looks: dict[str, list[Look]] = {name: [] for name in policies}
            for frame in moments:
                for name, policy in in_suites.get(frame.suite, policies).items():
                    policy.spec.require_equal(frame.spec, f"policy {name!r}", f"what was seen in {episode}")
                    look = look_into(policy, frame.observation)
                    looks[name].append(look)
                    study.focus[name].append(measure(look, frame.regions))
                study.episodes.append(episode)
                study.steps.append(frame.step)
                shown.append(frame)
            for name, seen in looks.items():
                (folder / name).mkdir(exist_ok=True)
                _write_maps(folder / name / f"{episode}.safetensors", seen)
                if with_pictures:
                    _draw_episode(folder / name, shown, seen, policies[name].spec.control_rate_hz)
            on_episode(episode)
        tables = focus_tables(study.focus, study.episodes)
        (folder / "focus.md").write_text(tables + "\n", "utf-8")
        (folder / "focus.json").write_text(json.dumps(_numbers(study, about), indent=1) + "\n", "utf-8")
    return tables


def _draw_episode(
    folder: Path, frames: Sequence[Frame], looks: Sequence[Look], control_rate_hz: float
) -> None:
    episode = frames[0].episode
    for place in sorted({0, len(frames) // 2, len(frames) - 1}):
        frame, maps = frames[place], looks[place].maps
        for name, draw in (("layers", draw_layers), ("heads", draw_heads)):
            Image.fromarray(draw(frame, maps)).save(folder / f"{episode}-step-{frame.step:04d}-{name}.png")
    if len(frames) > 1:
        drawn = [draw_moment(frame, look.maps) for frame, look in zip(frames, looks, strict=True)]
        rate_hz = control_rate_hz / (frames[1].step - frames[0].step)
        encode_video(folder / f"{episode}.mp4", drawn, Camera("focus", *drawn[0].shape[:2]), rate_hz)


def _write_maps(path: Path, looks: Sequence[Look]) -> None:
    attention = np.stack([look.maps.weights.mean(axis=2) for look in looks])
    kept = np.stack([look.maps.kept.mean(axis=2) for look in looks])
    with usual_mode(path):
        save_file({"attention": attention.astype(np.float16), "kept": kept.astype(np.float16)}, path)


def _numbers(study: Study, about: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **about,
        "versions": versions(),
        "summary": {
            name: {
                measured: [mean.to_dict() for mean in layers]
                for measured, layers in mean_by_layer(found, study.episodes).items()
            }
            for name, found in study.focus.items()
        },
        "frames": [
            {
                "episode": episode,
                "step": step,
                "policies": {name: found[place].to_dict() for name, found in study.focus.items()},
            }
            for place, (episode, step) in enumerate(zip(study.episodes, study.steps, strict=True))
        ],
    }
