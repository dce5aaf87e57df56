"""Pictures of LeRobot data sets that are not where, when or what they are said to be."""

from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np

from corruptions.registry import (
    CAMERA,
    INFO,
    KINDS,
    LEROBOT,
    SHARED_ROWS,
    VIDEOS,
    change_column,
    change_json,
    corruption,
    listed_episodes,
    rewrite_video,
    stored_image,
    tables,
    videos,
    write_entries,
)


def _change_starts(root: Path, start: Callable[[int, float], float | None]) -> None:
    entries = listed_episodes(root)
    for entry in entries:
        key = f"videos/{CAMERA}/from_timestamp"
        entry[key] = start(entry["episode_index"], entry[key])
    write_entries(root, entries)


@corruption("LeRobot 3.0")
def starts_drift(root: Path, random: Random) -> None:
    slope = random.uniform(-0.15, 0.15)
    _change_starts(root, lambda episode, start: start + slope * episode)


@corruption("LeRobot 3.0")
def one_start_is_some_frames_off(root: Path, random: Random) -> None:
    wrong, shift = random.randrange(3), random.choice([-3, -2, -1, 1, 2, 3]) / 10
    _change_starts(root, lambda episode, start: start + shift * (episode == wrong))


@corruption("LeRobot 3.0")
def all_starts_are_off_alike(root: Path, random: Random) -> None:
    shift = random.uniform(-0.3, 0.3)
    _change_starts(root, lambda episode, start: start + shift)


@corruption("LeRobot 3.0")
def a_start_is_no_time(root: Path, random: Random) -> None:
    wrong, value = random.randrange(3), random.choice([None, float("nan"), float("inf"), -1.0, 1e300])
    _change_starts(root, lambda episode, start: value if episode == wrong else start)


@corruption("LeRobot 3.0")
def an_end_is_another(root: Path, random: Random) -> None:
    entries = listed_episodes(root)
    entry = random.choice(entries)
    entry[f"videos/{CAMERA}/to_timestamp"] += random.choice([-0.3, 0.2, 5.0, float("nan")])
    write_entries(root, entries)


@corruption("LeRobot 3.0")
def starts_of_two_episodes_are_exchanged(root: Path, random: Random) -> None:
    one, other = random.sample(range(3), 2)
    starts = {
        entry["episode_index"]: entry[f"videos/{CAMERA}/from_timestamp"] for entry in listed_episodes(root)
    }
    exchanged = {one: starts[other], other: starts[one]}
    _change_starts(root, lambda episode, start: exchanged.get(episode, start))


@corruption("LeRobot 3.0")
def a_number_of_a_file_is_another(root: Path, random: Random) -> None:
    entries = listed_episodes(root)
    names = ["data/file_index", "data/chunk_index", f"videos/{CAMERA}/file_index"]
    random.choice(entries)[random.choice(names)] = random.choice([None, 1, -1, 10**9])
    write_entries(root, entries)


@corruption(*VIDEOS)
def a_frame_of_a_video_is_missing(root: Path, random: Random) -> None:
    def drop(frames: list) -> list:
        place = random.randrange(len(frames))
        return frames[:place] + frames[place + 1 :]

    rewrite_video(random.choice(videos(root)), drop)


@corruption(*VIDEOS)
def a_frame_of_a_video_is_there_twice(root: Path, random: Random) -> None:
    def double(frames: list) -> list:
        place = random.randrange(len(frames))
        return frames[: place + 1] + frames[place:]

    rewrite_video(random.choice(videos(root)), double)


@corruption(*VIDEOS)
def a_video_has_a_hole_in_its_times(root: Path, random: Random) -> None:
    place, width = random.randrange(1, 3), random.randrange(1, 8)
    rewrite_video(random.choice(videos(root)), times=lambda frame: frame + width * (frame >= place))


@corruption(*VIDEOS)
def a_video_stalls_and_hurries(root: Path, random: Random) -> None:
    """At 100 times a second; what is less than half a period off is the row's own frame still."""
    widest = random.choice([3, 4, 4, 5])
    shifts = [random.randrange(-widest, widest) for _ in range(40)]
    rewrite_video(
        random.choice(videos(root)), times=lambda frame: max(10 * frame + shifts[frame], frame), rate=100
    )


@corruption(*VIDEOS)
def a_video_has_another_rate(root: Path, random: Random) -> None:
    rate = random.choice([5, 9, 11, 20, 30])
    rewrite_video(random.choice(videos(root)), rate=rate)


@corruption(*VIDEOS)
def a_video_has_more_frames_at_its_own_rate(root: Path, random: Random) -> None:
    times = random.choice([2, 3])
    rewrite_video(
        random.choice(videos(root)),
        lambda frames: [f for f in frames for _ in range(times)],
        rate=10 * times,
    )


@corruption(*VIDEOS)
def a_video_begins_late(root: Path, random: Random) -> None:
    delay = random.randrange(1, 4)
    rewrite_video(random.choice(videos(root)), times=lambda frame: frame + delay)


@corruption(*VIDEOS)
def a_video_is_of_another_codec(root: Path, random: Random) -> None:
    # Without HEVC, whose encoder garbles a few of a hundred videos this small; tests/data/test_video.py has it.
    codec, options = random.choice(
        [
            ("libx264", {"bf": "3", "g": "3", "x264-params": "open-gop=1"}),
            ("libx264", {"bf": "3", "g": "250"}),
            ("libvpx-vp9", {"b:v": "0", "g": "3"}),
        ]
    )
    rewrite_video(random.choice(videos(root)), codec=codec, options=options)


@corruption(*VIDEOS)
def a_video_has_another_size(root: Path, random: Random) -> None:
    size = random.choice([8, 32, 64])
    rewrite_video(
        random.choice(videos(root)), lambda frames: [np.resize(frame, (size, size, 3)) for frame in frames]
    )


@corruption("LeRobot 2.1")
def videos_of_two_episodes_are_exchanged(root: Path, random: Random) -> None:
    """Of unlike length: nothing tells of like ones."""
    videos = sorted(root.glob(f"videos/*/{CAMERA}/*.mp4"))
    one, other = videos[1], videos[random.choice([0, 2])]
    content = one.read_bytes(), other.read_bytes()
    one.write_bytes(content[1])
    other.write_bytes(content[0])


@corruption("LeRobot 2.1")
def tables_of_two_episodes_are_exchanged(root: Path, random: Random) -> None:
    one, other = random.sample(tables(root), 2)
    content = one.read_bytes(), other.read_bytes()
    one.write_bytes(content[1])
    other.write_bytes(content[0])


@corruption(*LEROBOT)
def a_camera_is_a_depth_map(root: Path, random: Random) -> None:
    name = random.choice(["video.is_depth_map", "is_depth_map"])
    change_json(root / INFO, lambda info: info["features"][CAMERA].update(info={name: True}))


@corruption("LeRobot 3.0 of images")
def an_image_cannot_be_used(root: Path, random: Random) -> None:
    content = random.choice([*map(stored_image, KINDS), None])

    def change(cells: list) -> list:
        random.choice(cells)["bytes"] = content
        return cells

    change_column(root / SHARED_ROWS, CAMERA, change)


@corruption("LeRobot 3.0 of images")
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
    change_column(root / SHARED_ROWS, CAMERA, change)
