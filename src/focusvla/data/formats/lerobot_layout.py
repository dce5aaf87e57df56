"""Names and paths of the LeRobot data set format, version 3.0."""

from collections.abc import Mapping
from typing import Any

from focusvla_client import Camera, Spec

CODEBASE_VERSION = "v3.0"
CHUNK_SIZE = 1000
"""Files per chunk folder."""
DATA_FILE_MEGABYTES = 100
VIDEO_FILE_MEGABYTES = 200

INFO_PATH = "meta/info.json"
STATISTICS_PATH = "meta/stats.json"
SPEC_PATH = "meta/spec.json"
"""Not part of the format: our conventions, which lerobot ignores."""
TASKS_PATH = "meta/tasks.parquet"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"

STATE_KEY = "observation.state"
ACTION_KEY = "action"
CAMERA_PREFIX = "observation.images."

INDEX_FEATURES = {
    "timestamp": "float32",
    "frame_index": "int64",
    "episode_index": "int64",
    "index": "int64",
    "task_index": "int64",
}
"""The columns that every data set has, all of width 1."""


def camera_key(camera: Camera | str) -> str:
    """The feature under which a camera's frames are stored."""
    return CAMERA_PREFIX + (camera if isinstance(camera, str) else camera.name)


_OPENPI_KEYS = {
    STATE_KEY: "state",
    ACTION_KEY: "actions",
    CAMERA_PREFIX + "image": "image",
    CAMERA_PREFIX + "image2": "wrist_image",
}
"""What openpi's conversion of LIBERO (`convert_libero_data_to_lerobot.py`) calls the same features."""


def stored_key(features: Mapping[str, Any], key: str) -> str:
    """What a data set calls a feature: as LeRobot does or, where it lacks that, as openpi's conversion does."""
    other = _OPENPI_KEYS.get(key, key)
    return key if key in features or other not in features else other


def frames_per_second(spec: Spec) -> int | float:
    """The control rate as the format writes it, an integer wherever it is one."""
    return (
        int(spec.control_rate_hz)
        if spec.control_rate_hz == int(spec.control_rate_hz)
        else spec.control_rate_hz
    )


def describe_features(spec: Spec) -> dict[str, dict[str, Any]]:
    """The `features` entry of `meta/info.json`."""
    features: dict[str, dict[str, Any]] = {
        camera_key(camera): {
            "dtype": "video",
            "shape": [camera.height, camera.width, 3],
            "names": ["height", "width", "channels"],
            "info": {
                "video.height": camera.height,
                "video.width": camera.width,
                "video.codec": "h264",
                "video.pix_fmt": "yuv420p",
                "video.is_depth_map": False,
                "video.fps": frames_per_second(spec),
                "video.channels": 3,
                "has_audio": False,
            },
        }
        for camera in spec.cameras
    }
    features[STATE_KEY] = {"dtype": "float32", "shape": [len(spec.state)], "names": list(spec.state)}
    features[ACTION_KEY] = {"dtype": "float32", "shape": [len(spec.action)], "names": list(spec.action)}
    return features | {
        name: {"dtype": dtype, "shape": [1], "names": None} for name, dtype in INDEX_FEATURES.items()
    }
