"""Which pictures a player keeps of its episodes."""

import numpy as np

from focusvla.evaluation.watched import KeptPictures

TASK = ("libero_goal", 3)


def pictures(*values: int) -> dict[int, dict[str, np.ndarray]]:
    """Of the steps 0, 8, 16, ..., one number each."""
    return {8 * index: {"image": np.array(value)} for index, value in enumerate(values)}


def shown(kept: KeptPictures, trial: int, steps: list[int], task=TASK) -> list[int]:
    """Their numbers; what is drawn is the step, negative."""
    return [
        int(frame["image"]) for frame in kept.shown(task, trial, steps, lambda s: {"image": np.array(-s)})
    ]


def test_the_earliest_success_and_failure_are_kept_and_the_rest_is_drawn():
    kept = KeptPictures()
    kept.keep(TASK, 4, True, pictures(40, 41))
    kept.keep(TASK, 2, True, pictures(20, 21))
    kept.keep(TASK, 6, True, pictures(60, 61))
    kept.keep(TASK, 5, False, pictures(50))
    assert shown(kept, 2, [0, 4, 8]) == [20, -4, 21]
    assert shown(kept, 5, [0, 8]) == [50, -8]
    assert shown(kept, 4, [0, 8]) == shown(kept, 6, [0, 8]) == [0, -8]


def test_another_task_forgets_them():
    kept = KeptPictures()
    kept.keep(TASK, 0, True, pictures(1))
    assert shown(kept, 0, [0], task=("libero_goal", 4)) == [0]
    kept.keep(("libero_goal", 4), 0, True, pictures(2))
    assert shown(kept, 0, [0]) == [0]
    assert shown(kept, 0, [0], task=("libero_goal", 4)) == [2]
