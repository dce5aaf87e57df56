"""What others reached: the paper, in percent of 500 episodes a suite and 50 a task, and the scripted experts."""

from dataclasses import dataclass
from typing import Literal

SUITES: tuple[str, ...] = ("libero_spatial", "libero_object", "libero_goal", "libero_10")
SUITE_TITLES = {
    "libero_spatial": "Spatial",
    "libero_object": "Object",
    "libero_goal": "Goal",
    "libero_10": "Long",
}

PROTOCOL = "libero_openvla"
"""The protocol of these numbers; no other is set beside them."""

BY_SUITE: dict[str, tuple[float, float, float, float]] = {
    "paper_mixed": (94.4, 95.6, 93.2, 91.0),
    "paper_cascaded": (98.0, 98.6, 96.2, 95.0),
    "paper_top_128": (96.8, 99.0, 95.4, 93.8),
    "paper_top_256": (99.0, 99.2, 98.2, 95.4),
    "paper_top_384": (98.4, 99.6, 97.8, 95.2),
    "paper_gate_scalar": (98.0, 99.0, 97.8, 94.2),
    "paper_gate_head_wise": (97.4, 99.6, 96.8, 94.4),
    "paper_gate_element_wise": (99.6, 99.2, 98.2, 95.6),
    "paper_values_ds": (99.4, 99.4, 98.6, 96.0),
    "paper_values_vggt": (97.4, 98.6, 96.4, 94.8),
    "paper": (99.6, 100.0, 98.8, 96.2),
}
"""Table 2 by preset, in the order of `SUITES`, each a policy a suite; `paper` is also FocusVLA's row of Table 1."""

Kind = Literal["multi-weights", "single-weight"]
"""Whether each suite has a policy of its own, or all have one."""


@dataclass(frozen=True)
class PublishedRow:
    """A row of Table 1."""

    parameters: str
    percent: tuple[float, float, float, float]
    """In the order of `SUITES`."""
    average: float
    """As printed: of FocusVLA's single weight 97.0, though the mean of its four is 96.75."""


TABLE_1: dict[Kind, dict[str, PublishedRow]] = {
    "multi-weights": {
        "OpenVLA": PublishedRow("7B", (84.7, 88.4, 79.2, 53.7), 76.5),
        "OpenVLA-OFT": PublishedRow("7B", (97.6, 98.4, 97.9, 94.5), 97.1),
        "UniVLA": PublishedRow("7B", (96.5, 96.8, 95.6, 92.0), 95.2),
        "Spatial Forcing": PublishedRow("7B", (99.4, 99.6, 98.8, 96.0), 98.5),
        "SpatialVLA": PublishedRow("4B", (88.2, 89.9, 78.6, 55.5), 78.1),
        "X-VLA": PublishedRow("0.9B", (98.2, 98.6, 97.8, 97.6), 98.1),
        "VLA-Adapter-Pro": PublishedRow("0.5B", (99.6, 99.6, 98.2, 96.4), 98.5),
        "FocusVLA": PublishedRow("0.5B", BY_SUITE["paper"], 98.7),
    },
    "single-weight": {
        "Pi0.5": PublishedRow("3B", (98.8, 98.2, 98.0, 92.4), 96.9),
        "NORA-1.5": PublishedRow("3B", (98.0, 96.0, 95.4, 90.5), 95.0),
        "EVO-1": PublishedRow("0.5B", (92.7, 97.7, 96.3, 92.3), 94.8),
        "VLA-Adapter-Pro": PublishedRow("0.5B", (98.8, 96.2, 95.6, 91.6), 95.6),
        "FocusVLA": PublishedRow("0.5B", (99.2, 98.4, 97.0, 92.4), 97.0),
    },
}
"""Table 1 by kind and method."""

METHODS: dict[str, str] = {
    **dict.fromkeys(("paper", "paper_libero", *(f"paper_{suite}" for suite in SUITES)), "FocusVLA"),
    "baseline_mixed_separate": "VLA-Adapter-Pro",
}
"""The rows of Table 1 that presets are."""

BY_TASK: dict[str, tuple[float, ...]] = {
    "libero_spatial": (100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 96.0, 100.0, 100.0),
    "libero_object": (100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0),
    "libero_goal": (100.0, 96.0, 98.0, 100.0, 100.0, 100.0, 98.0, 100.0, 98.0, 98.0),
    "libero_10": (96.0, 98.0, 100.0, 100.0, 98.0, 100.0, 94.0, 98.0, 84.0, 94.0),
}
"""Table 4: FocusVLA with a policy a suite, task by task."""

ROBOTWIN_METHODS = ("DP", "Pi0", "VLA-Adapter", "FocusVLA")
BY_ROBOTWIN_TASK: dict[str, tuple[tuple[int, int], ...]] = {
    "beat_block_hammer": ((42, 0), (43, 21), (89, 43), (93, 54)),
    "blocks_ranking_rgb": ((0, 0), (19, 5), (35, 8), (43, 11)),
    "click_alarmclock": ((61, 5), (63, 11), (44, 4), (81, 20)),
    "hanging_mug": ((8, 0), (11, 3), (8, 1), (18, 5)),
    "move_pillbottle_pad": ((1, 0), (21, 1), (10, 1), (20, 2)),
    "place_object_basket": ((15, 0), (16, 2), (12, 0), (28, 4)),
    "stack_blocks_two": ((7, 0), (42, 1), (26, 0), (61, 10)),
}
"""Table 5 by RoboTwin's task, in the order of `ROBOTWIN_METHODS`: percent of 100 easy and of 300 hard trials."""

EXPERT: dict[str, dict[str, tuple[tuple[int, int], ...]]] = {
    "libero_wide": {
        "libero_spatial": tuple((solved, 20) for solved in (20, 20, 20, 20, 16, 19, 20, 19, 20, 20)),
        "libero_object": tuple((solved, 20) for solved in (20, 20, 20, 20, 20, 20, 20, 20, 20, 20)),
        "libero_goal": tuple((solved, 20) for solved in (19, 20, 19, 19, 20, 20, 19, 20, 20, 17)),
        "libero_10": tuple((solved, 20) for solved in (20, 17, 20, 20, 20, 20, 20, 20, 18, 19)),
    }
}
"""The scripted expert's successes and starts, by protocol, suite and task: `python benchmarks/experts.py --protocol`."""
