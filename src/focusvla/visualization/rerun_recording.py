"""Episodes as a recording for the Rerun viewer: cameras, where the policy looked, actions and states on one time line.

    POLICY, STARTS/SUITE-task-003-trial-000/
    ├── CAMERA              a picture of each camera, every fifth of a second
    │   ├── attention       over it, black to yellow: the last layer's, in the mean over heads and action steps
    │   └── kept            over it, the darker the fewer heads and action steps kept a patch
    ├── action/NAME         a curve each
    └── state/NAME

Timelines are `step`, control steps, and `time`, seconds. An RRD file is for the Rerun version that wrote it, and newer.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
import av.error
import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from focusvla.errors import DataError, MissingDependencyError
from focusvla.evaluation.episodes import PlannedEpisode, steps_per_frame
from focusvla.storage import publish_file
from focusvla.visualization.episode_records import EpisodeRecord
from focusvla.visualization.focus_grids import FocusGrids

_JPEG_QUALITY = 90
_HEAT_OPACITY, _DROPPED_OPACITY = 0.7, 0.8


def load_rerun() -> Any:
    """The rerun package.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        import rerun  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingDependencyError("rerun-sdk", "rerun", "a recording for the Rerun viewer") from error
    return rerun


def write_recording(output: Path, records: Sequence[EpisodeRecord]) -> Path:
    """Write `records` to the file `output` (.rrd) and return it. If that fails, what was there stays, alone.

    Raises:
        MissingDependencyError: rerun is not installed.
        DataError: a video is damaged.
        StorageError: `output` cannot be written.
    """
    rerun = load_rerun()
    identity = _recording_id(output, records)
    recording = rerun.RecordingStream("focusvla", recording_id=identity, send_properties=False)
    with publish_file(output) as partial:  # which touches it: rerun's own error names no reason
        try:
            recording.save(partial, default_blueprint=_blueprint(rerun, records))
            recording.set_log_time_enabled(False)
            for record in records:
                _log_episode(rerun, recording, record)
        finally:
            recording.disconnect()  # flushes
    return output


def episode_path(record: EpisodeRecord) -> list[str]:
    """The parts of an episode's entity path."""
    contents = record.drawn.contents
    return [contents.name, PlannedEpisode.of(record.drawn.result).name]


def _recording_id(output: Path, records: Sequence[EpisodeRecord]) -> str:
    """The viewer merges recordings whose id is the same."""
    results = [(episode_path(record), record.drawn.result) for record in records]
    return f"{output.stem}-{hashlib.sha256(repr(results).encode()).hexdigest()[:16]}"


def _log_episode(rerun: Any, recording: Any, record: EpisodeRecord) -> None:
    root, result, spec = episode_path(record), record.drawn.result, record.drawn.spec
    outcome = "success" if result.success else "failure"
    words = f"{result.instruction}\n\n{outcome} after {result.steps} steps. {record.no_grids_because}"
    recording.log(root, rerun.TextDocument(words), static=True)

    def at(step: int) -> None:
        recording.set_time("step", sequence=step)
        recording.set_time("time", duration=step / spec.control_rate_hz)

    cameras = [camera.name for camera in spec.cameras]
    size = 0, 0
    for index, frame in enumerate(_decode(record.drawn.video)):
        at(index * steps_per_frame(spec.control_rate_hz))
        for camera, picture in zip(cameras, np.split(frame, len(cameras), axis=1), strict=True):
            compressed = rerun.Image(picture).compress(jpeg_quality=_JPEG_QUALITY)
            recording.log([*root, camera], compressed)
            size = picture.shape[:2]
    if grids := record.grids:
        for index in range(len(grids.attention)):
            at(record.asked[index])
            for camera in grids.cameras:
                for name, picture in _overlays(grids, index, camera).items():
                    recording.log([*root, camera, name], _png(rerun, picture, size, grids.seen_side))
    for vector, names, values in (
        ("action", spec.action, record.actions),
        ("state", spec.state, record.states),
    ):
        for name, column in zip(names, () if values is None else values.T, strict=values is not None):
            steps = np.arange(len(column))
            rerun.send_columns(
                rerun.new_entity_path([*root, vector, name]),
                indexes=[
                    rerun.TimeColumn("step", sequence=steps),
                    rerun.TimeColumn("time", duration=steps / spec.control_rate_hz),
                ],
                columns=rerun.Scalars.columns(scalars=column.astype(np.float64)),
                recording=recording,
            )


def _overlays(
    grids: FocusGrids, inference: int, camera: str
) -> dict[str, UInt8[np.ndarray, "rows columns 4"]]:
    """Colors and opacity of each patch, of the last layer in the mean over heads."""
    heat = grids.of_camera(grids.attention, camera)[inference, -1, 0] / 255
    kept = grids.of_camera(grids.kept, camera)[inference, -1, 0] / 255
    colors = matplotlib.colormaps["inferno"](heat)
    colors[..., 3] = _HEAT_OPACITY * np.sqrt(heat)
    shade = np.zeros_like(colors)
    shade[..., 3] = _DROPPED_OPACITY * (1 - kept)
    return {"attention": _to_bytes(colors), "kept": _to_bytes(shade)}


def _to_bytes(colors: Float[np.ndarray, "rows columns 4"]) -> UInt8[np.ndarray, "rows columns 4"]:
    return np.round(255 * colors).astype(np.uint8)


def _png(
    rerun: Any, picture: UInt8[np.ndarray, "rows columns 4"], size: tuple[int, int], seen_side: float
) -> Any:
    """The picture over the middle `seen_side` of (height, width), nothing around it, patches staying squares."""
    buffer = io.BytesIO()
    inner = [round(seen_side * length) for length in size]
    enlarged = Image.new("RGBA", (size[1], size[0]))
    patches = Image.fromarray(picture).resize((inner[1], inner[0]), Image.Resampling.NEAREST)
    enlarged.paste(patches, ((size[1] - inner[1]) // 2, (size[0] - inner[0]) // 2))
    enlarged.save(buffer, "png")
    return rerun.EncodedImage(contents=buffer.getvalue(), media_type="image/png", draw_order=1.0)


def _decode(video: Path) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    """All frames, of which there is at least one."""
    try:
        with av.open(str(video)) as container:
            frames = container.decode(video=0)
            yield next(frames).to_ndarray(format="rgb24")
            for frame in frames:
                yield frame.to_ndarray(format="rgb24")
    except (av.error.FFmpegError, IndexError, StopIteration) as error:
        raise DataError(
            f"{video}: expected a video, got {str(error) or 'no frame'}. "
            "Remove it and run `focusvla evaluate` again."
        ) from error


def _blueprint(rerun: Any, records: Sequence[EpisodeRecord]) -> Any:
    """A tab per episode: cameras above, curves below."""
    views = rerun.blueprint
    tabs = []
    for record in records:
        root, cameras = episode_path(record), [camera.name for camera in record.drawn.spec.cameras]
        origin = {name: rerun.new_entity_path([*root, name]) for name in (*cameras, "action", "state")}
        pictures = [views.Spatial2DView(origin=origin[camera], name=camera) for camera in cameras]
        curves = [views.TimeSeriesView(origin=origin[name], name=name) for name in ("action", "state")]
        outcome = "success" if record.drawn.result.success else "failure"
        name = f"{outcome}: {' '.join(root)}"
        tabs.append(views.Vertical(views.Horizontal(*pictures), views.Horizontal(*curves), name=name))
    return views.Blueprint(views.Tabs(*tabs))
