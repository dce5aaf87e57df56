"""Ways in which data sets are broken, by format and name: each changes a valid one in a folder.

`FORMATS` has for every format how a valid data set is written; `CORRUPTIONS` what is done to it. A corruption draws from
`random.Random` what it changes, so one name stands for many cases.
"""

import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from focusvla.data.formats.known_specs import libero_spec
from focusvla.data.memory import MemorySource
from focusvla_client import Spec
from focusvla_client.bimanual import robotwin_spec
from written_datasets import (
    encoded,
    example_record,
    gray_memory,
    store_images_in_tables,
    write_lerobot,
    write_libero_hdf5,
    write_older_lerobot,
    write_records,
    write_rlds,
    write_robotwin,
    write_timed_video,
)

LENGTHS = (4, 3, 4)
"""Of the episodes; two are of one length, so that not all confusion shows in lengths."""
CAMERA = "observation.images.image"
SHARED_VIDEO = f"videos/{CAMERA}/chunk-000/file-000.mp4"
SHARED_ROWS = "data/chunk-000/file-000.parquet"
LISTED = "meta/episodes/chunk-000/file-000.parquet"
INFO = "meta/info.json"

Corrupt = Callable[[Path, Random], object]


@dataclass(frozen=True)
class Format:
    """A format, and the episodes that are written in it."""

    memory: MemorySource
    write: Callable[[Path, MemorySource], object]
    needs_spec: bool = False
    package: str = ""
    """Without which it is not tried."""

    @property
    def spec(self) -> Spec | None:
        return self.memory.spec if self.needs_spec else None


_ARM = gray_memory(replace(libero_spec(16), control_rate_hz=10.0, gripper="none"), LENGTHS)
_LIBERO = gray_memory(libero_spec(16), LENGTHS)
_ONE_TASK = gray_memory(libero_spec(16), LENGTHS, ("push",))
_ROBOTWIN = gray_memory(robotwin_spec(16, 24), LENGTHS)


def _write_images(root: Path, memory: MemorySource) -> None:
    store_images_in_tables(write_lerobot(root, memory), memory)


FORMATS: dict[str, Format] = {
    "LeRobot 3.0": Format(_ARM, write_lerobot),
    "LeRobot 2.1": Format(_ARM, write_older_lerobot, needs_spec=True),
    "LeRobot 3.0 of images": Format(_ARM, _write_images),
    "RLDS": Format(_LIBERO, write_rlds, package="google_crc32c"),
    "LIBERO": Format(
        _ONE_TASK, lambda root, memory: write_libero_hdf5(root / "push_demo.hdf5", memory), package="h5py"
    ),
    "RoboTwin": Format(
        _ROBOTWIN, lambda root, memory: write_robotwin(root, memory, older=False), package="h5py"
    ),
    "RoboTwin, older": Format(
        _ROBOTWIN, lambda root, memory: write_robotwin(root, memory, older=True), package="h5py"
    ),
}

CORRUPTIONS: dict[tuple[str, str], Corrupt] = {}


def _corruption(*formats: str) -> Callable[[Corrupt], Corrupt]:
    """Register a function for some formats; its name says what is wrong afterwards."""

    def register(function: Corrupt) -> Corrupt:
        for name in formats:
            CORRUPTIONS[name, getattr(function, "__name__", "").replace("_", " ")] = function
        return function

    return register


# Files -----------------------------------------------------------------------------------------------------------


def _change_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def _change_info(root: Path, **changes: object) -> None:
    _change_json(root / INFO, lambda info: info.update(changes))


def _entries(root: Path) -> list[dict[str, Any]]:
    older = root / "meta/episodes.jsonl"
    if older.exists():
        return [json.loads(line) for line in older.read_text().splitlines()]
    table = pq.read_table(root / LISTED)
    return table.select([name for name in table.column_names if not name.startswith("stats/")]).to_pylist()


def _write_entries(root: Path, entries: Sequence[dict[str, Any]]) -> None:
    older = root / "meta/episodes.jsonl"
    if older.exists():
        older.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    else:
        pq.write_table(pa.Table.from_pylist(list(entries)), root / LISTED)


def _tables(root: Path) -> list[Path]:
    return sorted(root.glob("data/*/*.parquet"))


def _videos(root: Path) -> list[Path]:
    return sorted(root.glob("videos/**/*.mp4"))


def _change_column(path: Path, name: str, change: Callable[[list], list]) -> None:
    table = pq.read_table(path)
    values = pa.array(change(table[name].to_pylist()), table.schema.field(name).type)
    pq.write_table(table.set_column(table.column_names.index(name), name, values), path)


def _rewrite_video(
    path: Path,
    frames: Callable[[list[np.ndarray]], list[np.ndarray]] = lambda frames: frames,
    times: Callable[[int], int] = lambda frame: frame,
    rate: int = 10,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
) -> None:
    with av.open(str(path)) as container:
        shown = frames([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    write_timed_video(
        path, shown, list(map(times, range(len(shown)))), rate, codec, {"crf": "3", **(options or {})}
    )


_VIDEOS = ("LeRobot 3.0", "LeRobot 2.1")
_LEROBOT = (*_VIDEOS, "LeRobot 3.0 of images")
_LATEST = ("LeRobot 3.0", "LeRobot 3.0 of images")

# Where pictures lie ----------------------------------------------------------------------------------------------


def _change_starts(root: Path, start: Callable[[int, float], float | None]) -> None:
    entries = _entries(root)
    for entry in entries:
        key = f"videos/{CAMERA}/from_timestamp"
        entry[key] = start(entry["episode_index"], entry[key])
    _write_entries(root, entries)


@_corruption("LeRobot 3.0")
def starts_drift(root: Path, random: Random) -> None:
    slope = random.uniform(-0.15, 0.15)
    _change_starts(root, lambda episode, start: start + slope * episode)


@_corruption("LeRobot 3.0")
def one_start_is_some_frames_off(root: Path, random: Random) -> None:
    wrong, shift = random.randrange(3), random.choice([-3, -2, -1, 1, 2, 3]) / 10
    _change_starts(root, lambda episode, start: start + shift * (episode == wrong))


@_corruption("LeRobot 3.0")
def all_starts_are_off_alike(root: Path, random: Random) -> None:
    shift = random.uniform(-0.3, 0.3)
    _change_starts(root, lambda episode, start: start + shift)


@_corruption("LeRobot 3.0")
def a_start_is_no_time(root: Path, random: Random) -> None:
    wrong, value = random.randrange(3), random.choice([None, float("nan"), float("inf"), -1.0, 1e300])
    _change_starts(root, lambda episode, start: value if episode == wrong else start)


@_corruption("LeRobot 3.0")
def an_end_is_another(root: Path, random: Random) -> None:
    entries = _entries(root)
    entry = random.choice(entries)
    entry[f"videos/{CAMERA}/to_timestamp"] += random.choice([-0.3, 0.2, 5.0, float("nan")])
    _write_entries(root, entries)


@_corruption("LeRobot 3.0")
def starts_of_two_episodes_are_exchanged(root: Path, random: Random) -> None:
    one, other = random.sample(range(3), 2)
    starts = {entry["episode_index"]: entry[f"videos/{CAMERA}/from_timestamp"] for entry in _entries(root)}
    exchanged = {one: starts[other], other: starts[one]}
    _change_starts(root, lambda episode, start: exchanged.get(episode, start))


@_corruption("LeRobot 3.0")
def a_number_of_a_file_is_another(root: Path, random: Random) -> None:
    entries = _entries(root)
    names = ["data/file_index", "data/chunk_index", f"videos/{CAMERA}/file_index"]
    random.choice(entries)[random.choice(names)] = random.choice([None, 1, -1, 10**9])
    _write_entries(root, entries)


@_corruption(*_VIDEOS)
def a_frame_of_a_video_is_missing(root: Path, random: Random) -> None:
    def drop(frames: list) -> list:
        place = random.randrange(len(frames))
        return frames[:place] + frames[place + 1 :]

    _rewrite_video(random.choice(_videos(root)), drop)


@_corruption(*_VIDEOS)
def a_frame_of_a_video_is_there_twice(root: Path, random: Random) -> None:
    def double(frames: list) -> list:
        place = random.randrange(len(frames))
        return frames[: place + 1] + frames[place:]

    _rewrite_video(random.choice(_videos(root)), double)


@_corruption(*_VIDEOS)
def a_video_has_a_hole_in_its_times(root: Path, random: Random) -> None:
    place, width = random.randrange(1, 3), random.randrange(1, 8)
    _rewrite_video(random.choice(_videos(root)), times=lambda frame: frame + width * (frame >= place))


@_corruption(*_VIDEOS)
def a_video_stalls_and_hurries(root: Path, random: Random) -> None:
    """At 100 times a second; what is less than half a period off is the row's own frame still."""
    widest = random.choice([3, 4, 4, 5])
    shifts = [random.randrange(-widest, widest) for _ in range(40)]
    _rewrite_video(
        random.choice(_videos(root)), times=lambda frame: max(10 * frame + shifts[frame], frame), rate=100
    )


@_corruption(*_VIDEOS)
def a_video_has_another_rate(root: Path, random: Random) -> None:
    rate = random.choice([5, 9, 11, 20, 30])
    _rewrite_video(random.choice(_videos(root)), rate=rate)


@_corruption(*_VIDEOS)
def a_video_has_more_frames_at_its_own_rate(root: Path, random: Random) -> None:
    times = random.choice([2, 3])
    _rewrite_video(
        random.choice(_videos(root)),
        lambda frames: [f for f in frames for _ in range(times)],
        rate=10 * times,
    )


@_corruption(*_VIDEOS)
def a_video_begins_late(root: Path, random: Random) -> None:
    delay = random.randrange(1, 4)
    _rewrite_video(random.choice(_videos(root)), times=lambda frame: frame + delay)


@_corruption(*_VIDEOS)
def a_video_is_of_another_codec(root: Path, random: Random) -> None:
    codec, options = random.choice(
        [
            ("libx265", {"x265-params": "log-level=none:bframes=4:keyint=3"}),
            ("libx264", {"bf": "3", "g": "3", "x264-params": "open-gop=1"}),
            ("libx264", {"bf": "3", "g": "250"}),
            ("libvpx-vp9", {"b:v": "0", "g": "3"}),
        ]
    )
    _rewrite_video(random.choice(_videos(root)), codec=codec, options=options)


@_corruption(*_VIDEOS)
def a_video_has_another_size(root: Path, random: Random) -> None:
    size = random.choice([8, 32, 64])
    _rewrite_video(
        random.choice(_videos(root)), lambda frames: [np.resize(frame, (size, size, 3)) for frame in frames]
    )


@_corruption("LeRobot 2.1")
def videos_of_two_episodes_are_exchanged(root: Path, random: Random) -> None:
    """Of unlike length: nothing tells of like ones."""
    videos = sorted(root.glob(f"videos/*/{CAMERA}/*.mp4"))
    one, other = videos[1], videos[random.choice([0, 2])]
    content = one.read_bytes(), other.read_bytes()
    one.write_bytes(content[1])
    other.write_bytes(content[0])


@_corruption("LeRobot 2.1")
def tables_of_two_episodes_are_exchanged(root: Path, random: Random) -> None:
    one, other = random.sample(_tables(root), 2)
    content = one.read_bytes(), other.read_bytes()
    one.write_bytes(content[1])
    other.write_bytes(content[0])


@_corruption(*_LEROBOT)
def a_camera_is_a_depth_map(root: Path, random: Random) -> None:
    name = random.choice(["video.is_depth_map", "is_depth_map"])
    _change_json(root / INFO, lambda info: info["features"][CAMERA].update(info={name: True}))


# Lists and counts ------------------------------------------------------------------------------------------------


@_corruption(*_LEROBOT)
def a_count_is_another(root: Path, random: Random) -> None:
    name = random.choice(["total_episodes", "total_frames", "total_tasks"])
    _change_info(root, **{name: random.choice([0, 1, 100, "3", None, 2.5])})


@_corruption(*_LEROBOT)
def an_episode_is_not_listed(root: Path, random: Random) -> None:
    entries = _entries(root)
    entries.pop(random.randrange(3))
    _write_entries(root, entries)
    if random.random() < 0.5:
        steps = sum(entry["length"] for entry in entries)
        _change_info(root, total_episodes=2, total_frames=steps)


@_corruption(*_LEROBOT)
def an_episode_is_listed_twice(root: Path, random: Random) -> None:
    entries = _entries(root)
    again = dict(random.choice(entries))
    if random.random() < 0.5:
        again["tasks"] = ["something else"]
    entries.insert(random.randrange(4), again)
    _write_entries(root, entries)


@_corruption(*_LEROBOT)
def an_episode_has_another_number(root: Path, random: Random) -> None:
    entries = _entries(root)
    random.choice(entries)["episode_index"] = random.randrange(3, 9)
    _write_entries(root, entries)


@_corruption(*_LEROBOT)
def two_episodes_have_each_others_numbers(root: Path, random: Random) -> None:
    entries = _entries(root)
    one, other = random.sample(entries, 2)
    one["episode_index"], other["episode_index"] = other["episode_index"], one["episode_index"]
    _write_entries(root, entries)


@_corruption(*_LEROBOT)
def a_length_is_another(root: Path, random: Random) -> None:
    entries = _entries(root)
    entry = random.choice(entries)
    entry["length"] = random.choice([entry["length"] + 1, entry["length"] - 1, 0, -1, 10**12])
    _write_entries(root, entries)


@_corruption(*_LATEST)
def the_numbers_of_rows_are_others(root: Path, random: Random) -> None:
    entries, shift = _entries(root), random.choice([-2, 1, 3])
    entry = random.choice(entries)
    entry["dataset_from_index"] += shift
    if random.random() < 0.5:
        entry["dataset_to_index"] += shift
    _write_entries(root, entries)


@_corruption(*_LEROBOT)
def instructions_in_the_list_are_others(root: Path, random: Random) -> None:
    entries = _entries(root)
    random.choice(entries)["tasks"] = random.choice([["lift"], ["push", "lift"], [], None])
    _write_entries(root, entries)


@_corruption(*_LEROBOT)
def a_task_has_two_texts(root: Path, random: Random) -> None:
    older, index = root / "meta/tasks.jsonl", random.randrange(2)
    if older.exists():
        lines = [json.dumps({"task_index": index, "task": "lift"}), *older.read_text().splitlines()]
        random.shuffle(lines)
        older.write_text("".join(line + "\n" for line in lines))
    else:
        table = pq.read_table(root / "meta/tasks.parquet")
        more = pa.table({"task_index": [index], "task": ["lift"]}).cast(table.schema)
        pq.write_table(pa.concat_tables([table, more]), root / "meta/tasks.parquet")
    _change_info(root, total_tasks=2)


@_corruption(*_LEROBOT)
def tasks_have_each_others_texts(root: Path, random: Random) -> None:
    older = root / "meta/tasks.jsonl"
    if older.exists():
        texts = [json.loads(line)["task"] for line in older.read_text().splitlines()][::-1]
        lines = [json.dumps({"task_index": index, "task": text}) for index, text in enumerate(texts)]
        older.write_text("".join(line + "\n" for line in lines))
    else:
        _change_column(root / "meta/tasks.parquet", "task", lambda texts: texts[::-1])


@_corruption("LeRobot 2.1")
def chunks_have_another_size(root: Path, random: Random) -> None:
    _change_info(root, chunks_size=random.choice([1, 3, 1000]))


@_corruption(*_LEROBOT)
def the_rate_is_another(root: Path, random: Random) -> None:
    _change_info(root, fps=random.choice([5, 20, 9.9, 30]))


# Rows ------------------------------------------------------------------------------------------------------------


@_corruption(*_LEROBOT)
def all_rows_have_one_task(root: Path, random: Random) -> None:
    task = random.choice([0, 1, 7])
    for path in _tables(root):
        _change_column(path, "task_index", lambda values: [task] * len(values))


@_corruption(*_LEROBOT)
def a_row_is_missing_or_there_twice(root: Path, random: Random) -> None:
    path = random.choice(_tables(root))
    table = pq.read_table(path)
    rows = list(range(len(table)))
    place = random.choice(rows)
    rows = rows[:place] + rows[place + 1 :] if random.random() < 0.5 else rows[: place + 1] + rows[place:]
    pq.write_table(table.take(rows), path)


@_corruption(*_LEROBOT)
def rows_are_in_another_order(root: Path, random: Random) -> None:
    path = random.choice(_tables(root))
    table = pq.read_table(path)
    pq.write_table(table.take(random.sample(range(len(table)), len(table))), path)


@_corruption(*_LEROBOT)
def steps_are_counted_otherwise(root: Path, random: Random) -> None:
    change = random.choice([lambda step: step + 1, lambda step: 2 * step, lambda step: -step])
    _change_column(random.choice(_tables(root)), "frame_index", lambda steps: list(map(change, steps)))


@_corruption(*_LATEST)
def rows_belong_to_another_episode(root: Path, random: Random) -> None:
    one, other = random.sample(range(3), 2)
    exchanged = {one: other, other: one} if random.random() < 0.5 else {one: other}
    path = root / SHARED_ROWS
    _change_column(path, "episode_index", lambda values: [exchanged.get(value, value) for value in values])


@_corruption(*_LATEST)
def an_episode_lies_in_two_files(root: Path, random: Random) -> None:
    table = pq.read_table(root / SHARED_ROWS)
    chosen = [row for row, episode in enumerate(table["episode_index"].to_pylist()) if episode != 1]
    entries = _entries(root)
    moved = entries[random.choice([0, 2])]
    moved["data/file_index"] = 1
    pq.write_table(table.take(chosen), (root / SHARED_ROWS).with_name("file-001.parquet"))
    _write_entries(root, entries)


@_corruption(*_LEROBOT)
def timestamps_are_others(root: Path, random: Random) -> None:
    change = random.choice([lambda time: 2 * time, lambda time: time + 0.1, lambda time: float("nan")])
    _change_column(random.choice(_tables(root)), "timestamp", lambda times: list(map(change, times)))


@_corruption(*_LATEST)
def rows_have_other_numbers(root: Path, random: Random) -> None:
    shift = random.choice([-3, 1, 4])
    _change_column(root / SHARED_ROWS, "index", lambda values: [value + shift for value in values])


@_corruption(*_LEROBOT)
def a_number_is_not_finite(root: Path, random: Random) -> None:
    def change(rows: list) -> list:
        row = random.choice(rows)
        row[random.randrange(len(row))] = random.choice([float("nan"), float("inf")])
        return rows

    _change_column(random.choice(_tables(root)), random.choice(["action", "observation.state"]), change)


@_corruption(*_LEROBOT)
def a_file_is_cut_off_or_a_pointer(root: Path, random: Random) -> None:
    _cut(random.choice([*_tables(root), *_videos(root), *root.glob("meta/*.*")]), random)


def _cut(path: Path, random: Random) -> None:
    content = path.read_bytes()
    if path.name in ("spec.json", "stats.json") and not content:
        return
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 12345\n"
    path.write_bytes(random.choice([b"", pointer, content[: len(content) // 2]]))


# Images ----------------------------------------------------------------------------------------------------------


def _stored_image(kind: str) -> bytes:
    gray = np.full((16, 16), 90, np.uint8)
    if kind == "of 16 bits":
        image, name = Image.fromarray(gray.astype(np.uint16) * 257), "PNG"
    elif kind == "of floating-point numbers":
        image, name = Image.fromarray(gray.astype(np.float32) / 255), "TIFF"
    elif kind == "of another size":
        image, name = Image.fromarray(gray[:8]), "PNG"
    else:
        return encoded(np.repeat(gray[..., None], 3, 2), "PNG")[:60]
    buffer = io.BytesIO()
    image.save(buffer, name)
    return buffer.getvalue()


_KINDS = ["of 16 bits", "of floating-point numbers", "of another size", "cut off"]


@_corruption("LeRobot 3.0 of images")
def an_image_cannot_be_used(root: Path, random: Random) -> None:
    content = random.choice([*map(_stored_image, _KINDS), None])

    def change(cells: list) -> list:
        random.choice(cells)["bytes"] = content
        return cells

    _change_column(root / SHARED_ROWS, CAMERA, change)


@_corruption("LeRobot 3.0 of images")
def images_lie_in_files(root: Path, random: Random) -> None:
    forgotten = random.choice([None, 0, 5])

    def change(cells: list) -> list:
        for number, cell in enumerate(cells):
            cell["path"] = f"images/{number}.png"
            if number != forgotten:
                (root / cell["path"]).write_bytes(cell["bytes"])
            cell["bytes"] = None
        return cells

    (root / "images").mkdir()
    _change_column(root / SHARED_ROWS, CAMERA, change)


# RLDS ------------------------------------------------------------------------------------------------------------

_FEW = "libero_test_no_noops-train.tfrecord-00001-of-00002"
_MANY = "libero_test_no_noops-train.tfrecord-00000-of-00002"


def _third(**changes: Any) -> dict:
    """The features of the third episode, which is alone in its file, with changes; None removes."""
    episode = _LIBERO.episode(2)
    features = {
        "steps/action": episode.action.reshape(-1),
        "steps/observation/state": episode.state.reshape(-1),
        "steps/language_instruction": [episode.instruction.encode()] * len(episode),
        "steps/observation/image": [encoded(frame) for frame in _LIBERO.frames(2, "image")],
        "steps/observation/wrist_image": [encoded(frame) for frame in _LIBERO.frames(2, "image2")],
    }
    features |= {f"steps/{name}": value for name, value in changes.items()}
    return {name: value for name, value in features.items() if value is not None}


def _write_third(root: Path, **changes: Any) -> None:
    write_records(root / _FEW, [example_record(_third(**changes))])


@_corruption("RLDS")
def a_record_has_a_changed_byte(root: Path, random: Random) -> None:
    path = root / random.choice([_FEW, _MANY])
    content = bytearray(path.read_bytes())
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    path.write_bytes(content)


@_corruption("RLDS")
def a_file_holds_other_records_than_announced(root: Path, random: Random) -> None:
    record = example_record(_third())
    write_records(root / _FEW, [record] * random.choice([0, 2, 3]))


@_corruption("RLDS")
def a_file_is_missing_or_cut_off(root: Path, random: Random) -> None:
    path = root / random.choice([_FEW, _MANY])
    _cut(path, random) if random.random() < 0.7 else path.unlink()


@_corruption("RLDS")
def a_split_is_listed_twice(root: Path, random: Random) -> None:
    _change_json(root / "dataset_info.json", lambda info: info["splits"].append(info["splits"][0]))


@_corruption("RLDS")
def lengths_of_files_are_others(root: Path, random: Random) -> None:
    lengths = random.choice([["2"], ["1", "2"], ["2", "1", "1"], ["3", "1"], []])
    _change_json(root / "dataset_info.json", lambda info: info["splits"][0].update(shardLengths=lengths))


@_corruption("RLDS")
def a_record_has_more_or_fewer_pictures(root: Path, random: Random) -> None:
    images = _third()["steps/observation/image"]
    _write_third(root, **{"observation/image": random.choice([images[1:], [*images, images[-1]], [], None])})


@_corruption("RLDS")
def a_picture_of_a_record_cannot_be_used(root: Path, random: Random) -> None:
    images = list(_third()["steps/observation/image"])
    images[random.randrange(len(images))] = _stored_image(random.choice(_KINDS))
    _write_third(root, **{"observation/image": images})


@_corruption("RLDS")
def a_record_has_several_instructions(root: Path, random: Random) -> None:
    texts = [b"push", b"push", b"pull", b"push"]
    _write_third(root, language_instruction=random.choice([texts, [b""] * 4, texts[:2], None]))


@_corruption("RLDS")
def a_record_is_two_episodes(root: Path, random: Random) -> None:
    marks, place = np.zeros(4, np.float32), random.randrange(1, 3)
    marks[[0, place]] = 1
    _write_third(root, **random.choice([{"is_first": marks}, {"is_last": marks[::-1].copy()}]))


@_corruption("RLDS")
def a_record_has_other_widths(root: Path, random: Random) -> None:
    name = random.choice(["action", "observation/state"])
    values = _third()[f"steps/{name}"]
    _write_third(root, **{name: random.choice([values[1:], values[:-5], np.append(values, 0), values[:0]])})


@_corruption("RLDS")
def a_record_has_a_number_that_is_not_finite(root: Path, random: Random) -> None:
    values = _third()["steps/action"].copy()
    values[random.randrange(len(values))] = np.nan
    _write_third(root, action=values)


@_corruption("RLDS")
def the_description_is_another(root: Path, random: Random) -> None:
    path = root / random.choice(["dataset_info.json", "features.json"])
    path.write_text(
        path.read_text().replace('"16"', '"32"').replace('"name"', random.choice(['"title"', '"x"']))
    )


# HDF5 ------------------------------------------------------------------------------------------------------------

_HDF5 = ("LIBERO", "RoboTwin", "RoboTwin, older")


def _files(root: Path) -> list[Path]:
    return sorted(root.rglob("*.hdf5"))


def _arrays(path: Path) -> list[str]:
    """Names of all arrays that are read."""
    import h5py

    found: list[str] = []

    def note(name: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.shape and not name.endswith("/states"):
            found.append(name)

    with h5py.File(path) as file:
        file.visititems(note)
    return found


def _change_array(path: Path, name: str, change: Callable[[np.ndarray], Any]) -> None:
    import h5py

    with h5py.File(path, "r+") as file:
        values = change(file[name][()])  # pyright: ignore
        del file[name]
        if values is not None:
            file[name] = values


@_corruption(*_HDF5)
def an_array_has_fewer_rows(root: Path, random: Random) -> None:
    path = random.choice(_files(root))
    fewer = random.choice([lambda v: v[1:], lambda v: v[:-1], lambda v: v[:0], lambda v: None])
    _change_array(path, random.choice(_arrays(path)), fewer)


@_corruption(*_HDF5)
def an_array_has_more_rows(root: Path, random: Random) -> None:
    path = random.choice(_files(root))
    _change_array(path, random.choice(_arrays(path)), lambda values: np.concatenate([values, values[-1:]]))


@_corruption(*_HDF5)
def an_array_is_of_another_kind(root: Path, random: Random) -> None:
    path = random.choice(_files(root))
    other = random.choice(
        [lambda v: np.array(b"no"), lambda v: np.zeros((3, 3, 3, 3, 3)), lambda v: np.zeros((len(v), 99))]
    )
    _change_array(path, random.choice(_arrays(path)), other)


@_corruption(*_HDF5)
def numbers_of_an_array_are_not_finite(root: Path, random: Random) -> None:
    path = random.choice(_files(root))

    def change(values: np.ndarray) -> np.ndarray:
        return np.full_like(values, np.nan) if values.dtype.kind == "f" else values[:1]

    _change_array(path, random.choice(_arrays(path)), change)


@_corruption(*_HDF5)
def an_hdf5_file_is_cut_off_or_a_pointer(root: Path, random: Random) -> None:
    _cut(random.choice(_files(root)), random)


@_corruption("LIBERO")
def pictures_have_more_bits(root: Path, random: Random) -> None:
    kind = random.choice([np.uint16, np.float32])
    path = _files(root)[0]
    names = [name for name in _arrays(path) if name.endswith("rgb")]
    _change_array(path, random.choice(names), lambda values: values.astype(kind) * 257)


@_corruption("RoboTwin", "RoboTwin, older")
def an_encoded_picture_cannot_be_used(root: Path, random: Random) -> None:
    path, image = random.choice(_files(root)), _stored_image(random.choice(_KINDS))
    names = [name for name in _arrays(path) if name.endswith(("rgb", "colors"))]

    def change(values: np.ndarray) -> np.ndarray:
        images = values.tolist()
        images[random.randrange(len(images) - 1)] = image
        return np.array(images, f"S{max(map(len, images))}")

    _change_array(path, random.choice(names), change)


@_corruption("RoboTwin, older")
def joints_are_stored_twice_and_differ(root: Path, random: Random) -> None:
    import h5py

    path, wrong = random.choice(_files(root)), random.randrange(4)
    with h5py.File(path, "r+") as file:
        joints: np.ndarray = file["joint_action/vector"][()]  # pyright: ignore
        parts = np.split(joints, [6, 7, 13], axis=1)
        parts[wrong] = parts[wrong] + random.choice([0, 1])
        for name, values in zip(
            ("left_arm", "left_gripper", "right_arm", "right_gripper"), parts, strict=True
        ):
            file[f"joint_action/{name}"] = values


@_corruption("RoboTwin, older")
def instructions_are_missing(root: Path, random: Random) -> None:
    path = random.choice(sorted((root / "instructions").iterdir()))
    _cut(path, random) if random.random() < 0.5 else path.unlink()
