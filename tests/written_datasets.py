"""The episodes of a source as data sets of every format that can be read, small enough for tests."""

import io
import json
import shutil
import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from av.video.stream import VideoStream
from PIL import Image

from focusvla.data.episodes import Episode, EpisodeSource
from focusvla.data.formats.lerobot_layout import ACTION_KEY, STATE_KEY, camera_key, describe_features
from focusvla.data.formats.lerobot_writer import LeRobotWriter
from focusvla.data.formats.tfrecord import masked_checksum
from focusvla.data.memory import MemorySource
from focusvla.data.video import encode_video
from focusvla_client import Spec


def gray_memory(
    spec: Spec, lengths: tuple[int, ...] = (4, 3, 2), instructions: tuple[str, ...] = ("push", "pull")
) -> MemorySource:
    """Episodes of given lengths, each action the next step's state where both have one width, and every frame one gray
    level: 20 * episode + 5 * step + 40 * camera."""
    episodes, images = [], []
    for index, length in enumerate(lengths):
        rng = np.random.default_rng(index)
        state = rng.uniform(-1, 1, (length + 1, len(spec.state))).astype(np.float32)
        action = rng.uniform(-1, 1, (length, len(spec.action))).astype(np.float32)
        if len(spec.state) == len(spec.action):
            action = state[1:]
        instruction = instructions[index % len(instructions)]
        episodes.append(Episode(index=index, state=state[:-1], action=action, instruction=instruction))
        levels = (20 * index + 5 * np.arange(length)).astype(np.uint8)
        images.append(
            {
                camera.name: np.broadcast_to(
                    (levels + np.uint8(40 * place))[:, None, None, None],
                    (length, camera.height, camera.width, 3),
                )
                for place, camera in enumerate(spec.cameras)
            }
        )
    return MemorySource(spec, episodes, images)


def encoded(frame: np.ndarray, format: str = "JPEG") -> bytes:
    """One image as a file; of a JPEG with all its color."""
    buffer = io.BytesIO()
    options = {"quality": 95, "subsampling": 0} if format == "JPEG" else {}
    Image.fromarray(np.ascontiguousarray(frame)).save(buffer, format, **options)
    return buffer.getvalue()


def write_timed_video(
    path: Path,
    frames: Sequence[np.ndarray],
    times: Sequence[int],
    rate: int,
    codec: str,
    options: dict[str, str],
) -> Path:
    """A video of RGB frames, shown at `times` in units of 1 / rate seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options)
        assert isinstance(stream, VideoStream)
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], "yuv420p"
        for values, time in zip(frames, times, strict=True):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(values), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def write_lerobot(path: Path, source: EpisodeSource) -> Path:
    """A LeRobot v3.0 data set, as this package writes it."""
    with LeRobotWriter(path, source.spec, robot_type="arm") as writer:
        for index in range(source.num_episodes):
            episode = source.episode(index)
            writer.add_episode(
                frames={camera.name: source.frames(index, camera.name) for camera in source.spec.cameras},
                state=episode.state,
                action=episode.action,
                instruction=episode.instruction,
                metadata={"seed": index},
            )
    return path


def split_tables(dataset: Path) -> Path:
    """The LeRobot v3.0 data set with its tables in several files and chunks, rows of a file in any order."""
    rows = pq.read_table(dataset / "data/chunk-000/file-000.parquet")
    episodes = pq.read_table(dataset / "meta/episodes/chunk-000/file-000.parquet").to_pylist()
    (dataset / "data/chunk-000/file-000.parquet").unlink()
    for row in episodes:
        index = row["episode_index"]
        row |= {"data/chunk_index": index // 2, "data/file_index": index % 2}
        part = rows.filter(pc.field("episode_index") == index)
        path = dataset / f"data/chunk-{index // 2:03d}/file-{index % 2:03d}.parquet"
        path.parent.mkdir(exist_ok=True)
        pq.write_table(part.take(list(reversed(range(len(part))))), path)
        place = dataset / f"meta/episodes/chunk-000/file-{index:03d}.parquet"
        pq.write_table(pa.Table.from_pylist([row]), place)
    return dataset


def _image_cells(frames: list[np.ndarray]) -> pa.Array:
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    return pa.array([{"bytes": encoded(frame, "PNG"), "path": None} for frame in frames], kind)


def store_images_in_tables(dataset: Path, source: EpisodeSource) -> Path:
    """The LeRobot v3.0 data set of `source` with PNG files instead of videos, as HuggingFaceVLA/libero has them."""
    file = dataset / "data/chunk-000/file-000.parquet"
    table = pq.read_table(file)
    info = json.loads((dataset / "meta/info.json").read_text())
    for camera in source.spec.cameras:
        frames = [
            frame for index in range(source.num_episodes) for frame in source.frames(index, camera.name)
        ]
        table = table.append_column(f"observation.images.{camera.name}", _image_cells(frames))
        info["features"][f"observation.images.{camera.name}"]["dtype"] = "image"
    pq.write_table(table, file)
    info["video_path"] = None
    (dataset / "meta/info.json").write_text(json.dumps(info))
    shutil.rmtree(dataset / "videos")
    return dataset


def write_older_lerobot(
    root: Path, source: EpisodeSource, *, version: str = "v2.1", as_images: bool = False, chunks_size: int = 2
) -> Path:
    """A LeRobot data set of version 2.1 or 2.0: a table and a video per episode, `chunks_size` of each in a folder."""
    spec, features = source.spec, describe_features(source.spec)
    instructions = list(dict.fromkeys(source.episode(i).instruction for i in range(source.num_episodes)))
    (root / "meta").mkdir(parents=True)
    lines: dict[str, list[dict]] = {
        "tasks": [{"task_index": index, "task": text} for index, text in enumerate(instructions)],
        "episodes": [],
        "episodes_stats": [],
    }
    first = 0
    for index in range(source.num_episodes):
        episode = source.episode(index)
        steps = np.arange(len(episode))
        columns: dict[str, pa.Array] = {
            "observation.state": pa.array(episode.state.tolist(), pa.list_(pa.float32())),
            "action": pa.array(episode.action.tolist(), pa.list_(pa.float32())),
            "timestamp": pa.array((steps / spec.control_rate_hz).astype(np.float32)),
            "frame_index": pa.array(steps),
            "episode_index": pa.array(np.full(len(episode), index)),
            "index": pa.array(first + steps),
            "task_index": pa.array(np.full(len(episode), instructions.index(episode.instruction))),
        }
        chunk = f"chunk-{index // chunks_size:03d}"
        for camera in spec.cameras:
            key, frames = f"observation.images.{camera.name}", list(source.frames(index, camera.name))
            if as_images:
                columns[key] = _image_cells(frames)
                features[key]["dtype"] = "image"
            else:
                video = root / "videos" / chunk / key / f"episode_{index:06d}.mp4"
                video.parent.mkdir(parents=True, exist_ok=True)
                encode_video(video, frames, camera, spec.control_rate_hz)
        table = root / "data" / chunk / f"episode_{index:06d}.parquet"
        table.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(columns), table)
        lines["episodes"].append(
            {"episode_index": index, "tasks": [episode.instruction], "length": len(episode)}
        )
        stats = {"action": {"min": episode.action.min(0).tolist(), "max": episode.action.max(0).tolist()}}
        lines["episodes_stats"].append({"episode_index": index, "stats": stats})
        first += len(episode)
    for name, rows in lines.items():
        (root / f"meta/{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    info = {
        "codebase_version": version,
        "robot_type": "arm",
        "total_episodes": source.num_episodes,
        "total_frames": first,
        "chunks_size": chunks_size,
        "fps": int(spec.control_rate_hz),
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "features": features,
    }
    (root / "meta/info.json").write_text(json.dumps(info))
    return root


def _message(fields: list[tuple[int, bytes]]) -> bytes:
    """A protocol buffer of delimited fields."""
    return b"".join(_varint(number << 3 | 2) + _varint(len(value)) + value for number, value in fields)


def _varint(value: int) -> bytes:
    low = value & 127
    return bytes([low]) if value == low else bytes([low | 128]) + _varint(value >> 7)


def example_record(features: dict[str, np.ndarray | list[bytes]]) -> bytes:
    """A `tf.train.Example` of floats and of lists of bytes."""
    entries = []
    for name, values in features.items():
        floats = isinstance(values, np.ndarray)
        items = [(1, values.astype("<f4").tobytes())] if floats else [(1, value) for value in values]
        feature = _message([(2 if floats else 1, _message(items))])
        entries.append((1, _message([(1, name.encode()), (2, feature)])))
    return _message([(1, _message(entries))])


def write_records(path: Path, records: list[bytes]) -> None:
    """A file of TensorFlow's records."""
    with path.open("wb") as file:
        for record in records:
            length = struct.pack("<Q", len(record))
            for part in (length, record):
                file.write(part + struct.pack("<I", masked_checksum(part)))


def write_rlds(root: Path, source: EpisodeSource, *, name: str = "libero_test_no_noops") -> Path:
    """An RLDS data set with openvla's features, two episodes to a file."""
    root.mkdir(parents=True)
    size = source.spec.cameras[0].height
    shards = [[0, 1], [2]]
    for shard, indices in enumerate(shards):
        records = []
        for index in indices:
            episode = source.episode(index)
            images = {
                f"steps/observation/{key}": [encoded(frame) for frame in source.frames(index, camera.name)]
                for key, camera in zip(("image", "wrist_image"), source.spec.cameras, strict=True)
            }
            records.append(
                example_record(
                    {
                        "steps/action": episode.action.reshape(-1),
                        "steps/observation/state": episode.state.reshape(-1),
                        "steps/language_instruction": [episode.instruction.encode()] * len(episode),
                        "episode_metadata/file_path": [b"demo.hdf5"],
                        **images,
                    }
                )
            )
        write_records(root / f"{name}-train.tfrecord-{shard:05d}-of-{len(shards):05d}", records)
    split = {"name": "train", "shardLengths": [str(len(indices)) for indices in shards]}
    (root / "dataset_info.json").write_text(json.dumps({"name": name, "splits": [split]}))
    image = {"image": {"shape": {"dimensions": [str(size), str(size), "3"]}, "encodingFormat": "jpeg"}}
    steps: dict = image
    for level in ("image", "observation"):
        steps = {"featuresDict": {"features": {level: steps}}}
    described = {"featuresDict": {"features": {"steps": {"sequence": {"feature": steps}}}}}
    (root / "features.json").write_text(json.dumps(described))
    return root


def write_libero_hdf5(
    path: Path, source: EpisodeSource, *, instruction: str = "push", simulator_states: list | None = None
) -> Path:
    """LIBERO's original format: a row holds an action and what was seen after it, so there is one row more, before."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        group = file.create_group("data")
        group.attrs["problem_info"] = json.dumps({"language_instruction": [instruction]})
        for index in range(source.num_episodes):
            episode, demo = source.episode(index), group.create_group(f"demo_{index}")
            after_last = episode.state[-1:] + 1
            seen = np.concatenate([episode.state, after_last]).astype(np.float64)
            demo["actions"] = np.concatenate([-episode.action[:1], episode.action]).astype(np.float64)
            demo["obs/ee_states"], demo["obs/gripper_states"] = seen[:, :6], seen[:, 6:]
            demo["states"] = simulator_states[index] if simulator_states else np.zeros((len(seen), 4))
            for name, camera in zip(("agentview_rgb", "eye_in_hand_rgb"), source.spec.cameras, strict=True):
                frames = np.stack([*source.frames(index, camera.name)])[:, ::-1, ::-1]
                demo[f"obs/{name}"] = np.concatenate([frames, 255 - frames[-1:]])
    return path


def write_pushed_demonstrations(folder: Path) -> Path:
    """Two of LIBERO's original demonstrations, what is played of them: three movements and two pauses, first with the
    dressing in its basket, then far from it."""
    import h5py

    from focusvla.simulation.environment import suite_task
    from focusvla.simulation.libero import LiberoEnvironment
    from focusvla.suites import Start

    task = suite_task("libero_object", 2)
    environment, states = LiberoEnvironment(task, 64), []
    environment.reset(Start(init_state=0))
    scene = environment.scene
    for place in (scene.object_position("basket_1"), scene.object_position("salad_dressing_1")):
        scene.move_object("salad_dressing_1", place[:2])
        states.append(np.concatenate([[scene.data.time], scene.data.qpos, scene.data.qvel]))
    environment.close()
    actions = np.zeros((5, 7))
    actions[:, 6] = -1
    actions[[0, 2, 4], 2] = 0.5
    folder.mkdir(parents=True)
    with h5py.File(folder / f"{task.name}_demo.hdf5", "w") as file:
        problem = json.dumps({"language_instruction": [task.instruction]})
        file.create_group("data").attrs["problem_info"] = problem
        for number, state in enumerate(states):
            file[f"data/demo_{number}/actions"] = actions
            file[f"data/demo_{number}/states"] = np.repeat(state[None], len(actions), axis=0)
    return folder


def write_robotwin(root: Path, source: EpisodeSource, *, older: bool, standard_colors: bool = False) -> Path:
    """RoboTwin's demonstrations in the older layout or in the newer one."""
    import h5py

    for index in range(source.num_episodes):
        episode = source.episode(index)
        name = f"episode{index}" if older else f"episode_{index:07d}"
        (root / "data").mkdir(parents=True, exist_ok=True)
        (root / "instructions").mkdir(exist_ok=True)
        words = {"seen": [episode.instruction] * 3, "unseen": ["something else"]}
        with h5py.File(root / f"data/{name}.hdf5", "w") as file:
            if older:
                (root / f"instructions/{name}.json").write_text(json.dumps(words))
                file["joint_action/vector"] = np.concatenate([episode.state, episode.action[-1:]])
            else:
                file.attrs["source_format"] = "RoboTwin"
                file["instruction"], file["additional_info/frequency"] = episode.instruction, 15
                for kind, values in (("state", episode.state), ("action", episode.action)):
                    parts = np.split(values, [6, 7, 13], axis=1)
                    for part, numbers in zip(
                        ("left_arm", "left_ee", "right_arm", "right_ee"), parts, strict=True
                    ):
                        file[f"{kind}/{part}_joint_states"] = numbers
            for camera in source.spec.cameras:
                frames = list(source.frames(index, camera.name))
                frames += frames[-1:] if older else []
                images = [robotwin_image(frame, standard_colors) for frame in frames]
                place = {"head": "cam_head", "left": "cam_left_wrist", "right": "cam_right_wrist"}[
                    camera.name
                ]
                key = f"observation/{camera.name}_camera/rgb" if older else f"vision/{place}/colors"
                file[key] = np.array(images, f"S{max(map(len, images))}")
    return root


def robotwin_image(frame: np.ndarray, standard_colors: bool) -> bytes:
    """A JPEG with red and blue exchanged, or marked as one in which they are not."""
    if not standard_colors:
        return encoded(frame[..., ::-1])
    comment = b"XPL-RGB1"
    image = encoded(frame)
    return image[:2] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + image[2:]


def write_with_lerobot(
    path: Path, memory: MemorySource, *, as_images: bool = False, with_depth: bool = False
) -> Path:
    """The episodes as the `lerobot` library records them; `with_depth` beside a camera `depth`, which it has from 0.6."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset  # pyright: ignore[reportMissingImports]

    spec = memory.spec
    features: dict[str, Any] = {
        camera_key(camera): {
            "dtype": "image" if as_images else "video",
            "shape": (camera.height, camera.width, 3),
            "names": ["height", "width", "channels"],
        }
        for camera in spec.cameras
    }
    height, width = spec.cameras[0].height, spec.cameras[0].width
    if with_depth:
        features[camera_key("depth")] = {
            "dtype": "video",
            "shape": (height, width, 1),
            "names": ["height", "width", "channels"],
            "info": {"is_depth_map": True},
        }
    for key, names in ((STATE_KEY, spec.state), (ACTION_KEY, spec.action)):
        features[key] = {"dtype": "float32", "shape": (len(names),), "names": list(names)}
    options: dict[str, Any] = {}
    if with_depth:
        from lerobot.configs.video import DepthEncoderConfig  # pyright: ignore[reportMissingImports]

        # Of so few and small pictures, several threads of x265 lose some now and then.
        options["depth_encoder"] = DepthEncoderConfig(
            extra_options={"x265-params": "pools=none:frame-threads=1"}
        )
    dataset: Any = LeRobotDataset.create(
        "theirs",
        fps=int(spec.control_rate_hz),
        features=features,
        root=path,
        use_videos=not as_images,
        **options,
    )
    for index in range(memory.num_episodes):
        episode = memory.episode(index)
        frames = {camera_key(c): list(memory.frames(index, c.name)) for c in spec.cameras}
        for step in range(len(episode)):
            frame: dict[str, Any] = {key: pictures[step] for key, pictures in frames.items()}
            if with_depth:
                frame[camera_key("depth")] = np.full((height, width, 1), 700 + step, np.uint16)
            frame |= {STATE_KEY: episode.state[step], ACTION_KEY: episode.action[step]}
            dataset.add_frame(frame | {"task": episode.instruction})
        dataset.save_episode()
    dataset.finalize()
    return path
