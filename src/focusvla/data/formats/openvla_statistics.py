"""Statistics as OpenVLA's training and its descendants keep them: `dataset_statistics.json`, an entry per data set."""

import json
from pathlib import Path
from typing import Any

from focusvla.data.normalization import Statistics, StatisticsByPart
from focusvla.errors import DataError

FILE = "dataset_statistics.json"
"""Its name in a run folder."""


def read_openvla_statistics(path: Path) -> StatisticsByPart:
    """The ranges of every data set in the file, by its name, such as `libero_spatial_no_noops`.

    Raises:
        DataError: the file is missing or damaged, or an entry is not one of a robot with proprioception whose last action
            dimension alone, the gripper, is not normalized.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
        return StatisticsByPart({name: _read_entry(entry) for name, entry in values.items()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: expected for each data set q01, q99 and mask of 'action' and q01 and q99 of 'proprio', got "
            f"{error!r} on reading. Take the file from where the policy was trained."
        ) from error


def _read_entry(entry: Any) -> Statistics:
    statistics = Statistics.from_dict({"action": entry["action"], "state": entry["proprio"]})
    masked = [bool(value) for value in entry["action"].get("mask", ())]
    width = len(statistics.action.q01)
    if masked != [True] * (width - 1) + [False]:
        raise ValueError(f"mask {masked}: expected {width - 1} times true, then false for the gripper")
    return statistics
