"""RLDS data sets whose records, descriptions or pictures are broken."""

from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from corruptions.registry import KINDS, LIBERO, change_json, corruption, cut, stored_image
from written_datasets import (
    encoded,
    example_record,
    write_records,
)

_FEW = "libero_test_no_noops-train.tfrecord-00001-of-00002"
_MANY = "libero_test_no_noops-train.tfrecord-00000-of-00002"


def _third(**changes: Any) -> dict:
    """The features of the third episode, which is alone in its file, with changes; None removes."""
    episode = LIBERO.episode(2)
    features = {
        "steps/action": episode.action.reshape(-1),
        "steps/observation/state": episode.state.reshape(-1),
        "steps/language_instruction": [episode.instruction.encode()] * len(episode),
        "steps/observation/image": [encoded(frame) for frame in LIBERO.frames(2, "image")],
        "steps/observation/wrist_image": [encoded(frame) for frame in LIBERO.frames(2, "image2")],
    }
    features |= {f"steps/{name}": value for name, value in changes.items()}
    return {name: value for name, value in features.items() if value is not None}


def _write_third(root: Path, **changes: Any) -> None:
    write_records(root / _FEW, [example_record(_third(**changes))])


@corruption("RLDS")
def a_record_has_a_changed_byte(root: Path, random: Random) -> None:
    path = root / random.choice([_FEW, _MANY])
    content = bytearray(path.read_bytes())
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    path.write_bytes(content)


@corruption("RLDS")
def a_file_holds_other_records_than_announced(root: Path, random: Random) -> None:
    record = example_record(_third())
    write_records(root / _FEW, [record] * random.choice([0, 2, 3]))


@corruption("RLDS")
def a_file_is_missing_or_cut_off(root: Path, random: Random) -> None:
    path = root / random.choice([_FEW, _MANY])
    cut(path, random) if random.random() < 0.7 else path.unlink()


@corruption("RLDS")
def a_split_is_listed_twice(root: Path, random: Random) -> None:
    change_json(root / "dataset_info.json", lambda info: info["splits"].append(info["splits"][0]))


@corruption("RLDS")
def lengths_of_files_are_others(root: Path, random: Random) -> None:
    lengths = random.choice([["2"], ["1", "2"], ["2", "1", "1"], ["3", "1"], []])
    change_json(root / "dataset_info.json", lambda info: info["splits"][0].update(shardLengths=lengths))


@corruption("RLDS")
def a_record_has_more_or_fewer_pictures(root: Path, random: Random) -> None:
    images = _third()["steps/observation/image"]
    _write_third(root, **{"observation/image": random.choice([images[1:], [*images, images[-1]], [], None])})


@corruption("RLDS")
def a_picture_of_a_record_cannot_be_used(root: Path, random: Random) -> None:
    images = list(_third()["steps/observation/image"])
    images[random.randrange(len(images))] = stored_image(random.choice(KINDS))
    _write_third(root, **{"observation/image": images})


@corruption("RLDS")
def a_record_has_several_instructions(root: Path, random: Random) -> None:
    texts = [b"push", b"push", b"pull", b"push"]
    _write_third(root, language_instruction=random.choice([texts, [b""] * 4, texts[:2], None]))


@corruption("RLDS")
def a_record_is_two_episodes(root: Path, random: Random) -> None:
    marks, place = np.zeros(4, np.float32), random.randrange(1, 3)
    marks[[0, place]] = 1
    _write_third(root, **random.choice([{"is_first": marks}, {"is_last": marks[::-1].copy()}]))


@corruption("RLDS")
def a_record_has_other_widths(root: Path, random: Random) -> None:
    name = random.choice(["action", "observation/state"])
    values = _third()[f"steps/{name}"]
    _write_third(root, **{name: random.choice([values[1:], values[:-5], np.append(values, 0), values[:0]])})


@corruption("RLDS")
def a_record_has_a_number_that_is_not_finite(root: Path, random: Random) -> None:
    values = _third()["steps/action"].copy()
    values[random.randrange(len(values))] = np.nan
    _write_third(root, action=values)


@corruption("RLDS")
def the_description_is_another(root: Path, random: Random) -> None:
    path = root / random.choice(["dataset_info.json", "features.json"])
    path.write_text(
        path.read_text().replace('"16"', '"32"').replace('"name"', random.choice(['"title"', '"x"']))
    )
