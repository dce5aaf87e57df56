"""Lists, counts and rows of LeRobot data sets that contradict each other."""

import json
from pathlib import Path
from random import Random

import pyarrow as pa
import pyarrow.parquet as pq

from corruptions.registry import (
    LATEST,
    LEROBOT,
    SHARED_ROWS,
    change_column,
    change_info,
    corruption,
    cut,
    listed_episodes,
    tables,
    videos,
    write_entries,
)


@corruption(*LEROBOT)
def a_count_is_another(root: Path, random: Random) -> None:
    name = random.choice(["total_episodes", "total_frames", "total_tasks"])
    change_info(root, **{name: random.choice([0, 1, 100, "3", None, 2.5])})


@corruption(*LEROBOT)
def an_episode_is_not_listed(root: Path, random: Random) -> None:
    entries = listed_episodes(root)
    entries.pop(random.randrange(3))
    write_entries(root, entries)
    if random.random() < 0.5:
        steps = sum(entry["length"] for entry in entries)
        change_info(root, total_episodes=2, total_frames=steps)


@corruption(*LEROBOT)
def an_episode_is_listed_twice(root: Path, random: Random) -> None:
    entries = listed_episodes(root)
    again = dict(random.choice(entries))
    if random.random() < 0.5:
        again["tasks"] = ["something else"]
    entries.insert(random.randrange(4), again)
    write_entries(root, entries)


@corruption(*LEROBOT)
def an_episode_has_another_number(root: Path, random: Random) -> None:
    entries = listed_episodes(root)
    random.choice(entries)["episode_index"] = random.randrange(3, 9)
    write_entries(root, entries)


@corruption(*LEROBOT)
def two_episodes_have_each_others_numbers(root: Path, random: Random) -> None:
    entries = listed_episodes(root)
    one, other = random.sample(entries, 2)
    one["episode_index"], other["episode_index"] = other["episode_index"], one["episode_index"]
    write_entries(root, entries)


@corruption(*LEROBOT)
def a_length_is_another(root: Path, random: Random) -> None:
    entries = listed_episodes(root)
    entry = random.choice(entries)
    entry["length"] = random.choice([entry["length"] + 1, entry["length"] - 1, 0, -1, 10**12])
    write_entries(root, entries)


@corruption(*LATEST)
def the_numbers_of_rows_are_others(root: Path, random: Random) -> None:
    entries, shift = listed_episodes(root), random.choice([-2, 1, 3])
    entry = random.choice(entries)
    entry["dataset_from_index"] += shift
    if random.random() < 0.5:
        entry["dataset_to_index"] += shift
    write_entries(root, entries)


@corruption(*LEROBOT)
def instructions_in_the_list_are_others(root: Path, random: Random) -> None:
    entries = listed_episodes(root)
    random.choice(entries)["tasks"] = random.choice([["lift"], ["push", "lift"], [], None])
    write_entries(root, entries)


@corruption(*LEROBOT)
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
    change_info(root, total_tasks=2)


@corruption(*LEROBOT)
def tasks_have_each_others_texts(root: Path, random: Random) -> None:
    older = root / "meta/tasks.jsonl"
    if older.exists():
        texts = [json.loads(line)["task"] for line in older.read_text().splitlines()][::-1]
        lines = [json.dumps({"task_index": index, "task": text}) for index, text in enumerate(texts)]
        older.write_text("".join(line + "\n" for line in lines))
    else:
        change_column(root / "meta/tasks.parquet", "task", lambda texts: texts[::-1])


@corruption("LeRobot 2.1")
def chunks_have_another_size(root: Path, random: Random) -> None:
    change_info(root, chunks_size=random.choice([1, 3, 1000]))


@corruption(*LEROBOT)
def the_rate_is_another(root: Path, random: Random) -> None:
    change_info(root, fps=random.choice([5, 20, 9.9, 30]))


@corruption(*LEROBOT)
def all_rows_have_one_task(root: Path, random: Random) -> None:
    task = random.choice([0, 1, 7])
    for path in tables(root):
        change_column(path, "task_index", lambda values: [task] * len(values))


@corruption(*LEROBOT)
def a_row_is_missing_or_there_twice(root: Path, random: Random) -> None:
    path = random.choice(tables(root))
    table = pq.read_table(path)
    rows = list(range(len(table)))
    place = random.choice(rows)
    rows = rows[:place] + rows[place + 1 :] if random.random() < 0.5 else rows[: place + 1] + rows[place:]
    pq.write_table(table.take(rows), path)


@corruption(*LEROBOT)
def rows_are_in_another_order(root: Path, random: Random) -> None:
    path = random.choice(tables(root))
    table = pq.read_table(path)
    pq.write_table(table.take(random.sample(range(len(table)), len(table))), path)


@corruption(*LEROBOT)
def steps_are_counted_otherwise(root: Path, random: Random) -> None:
    change = random.choice([lambda step: step + 1, lambda step: 2 * step, lambda step: -step])
    change_column(random.choice(tables(root)), "frame_index", lambda steps: list(map(change, steps)))


@corruption(*LATEST)
def rows_belong_to_another_episode(root: Path, random: Random) -> None:
    one, other = random.sample(range(3), 2)
    exchanged = {one: other, other: one} if random.random() < 0.5 else {one: other}
    path = root / SHARED_ROWS
    change_column(path, "episode_index", lambda values: [exchanged.get(value, value) for value in values])


@corruption(*LATEST)
def an_episode_lies_in_two_files(root: Path, random: Random) -> None:
    table = pq.read_table(root / SHARED_ROWS)
    chosen = [row for row, episode in enumerate(table["episode_index"].to_pylist()) if episode != 1]
    entries = listed_episodes(root)
    moved = entries[random.choice([0, 2])]
    moved["data/file_index"] = 1
    pq.write_table(table.take(chosen), (root / SHARED_ROWS).with_name("file-001.parquet"))
    write_entries(root, entries)


@corruption(*LEROBOT)
def timestamps_are_others(root: Path, random: Random) -> None:
    change = random.choice([lambda time: 2 * time, lambda time: time + 0.1, lambda time: float("nan")])
    change_column(random.choice(tables(root)), "timestamp", lambda times: list(map(change, times)))


@corruption(*LATEST)
def rows_have_other_numbers(root: Path, random: Random) -> None:
    shift = random.choice([-3, 1, 4])
    change_column(root / SHARED_ROWS, "index", lambda values: [value + shift for value in values])


@corruption(*LEROBOT)
def a_number_is_not_finite(root: Path, random: Random) -> None:
    def change(rows: list) -> list:
        row = random.choice(rows)
        row[random.randrange(len(row))] = random.choice([float("nan"), float("inf")])
        return rows

    change_column(random.choice(tables(root)), random.choice(["action", "observation.state"]), change)


@corruption(*LEROBOT)
def a_file_is_cut_off_or_a_pointer(root: Path, random: Random) -> None:
    cut(random.choice([*tables(root), *videos(root), *root.glob("meta/*.*")]), random)
