"""What others reached: the paper, in percent of 500 episodes a suite and 50 a task, and the scripted experts."""

SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10")
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
"""Table 2 by preset, in the order of `SUITES`; `paper` is also FocusVLA's row of Table 1."""

BY_TASK: dict[str, tuple[float, ...]] = {
    "libero_spatial": (100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 96.0, 100.0, 100.0),
    "libero_object": (100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0, 100.0),
    "libero_goal": (100.0, 96.0, 98.0, 100.0, 100.0, 100.0, 98.0, 100.0, 98.0, 98.0),
    "libero_10": (96.0, 98.0, 100.0, 100.0, 98.0, 100.0, 94.0, 98.0, 84.0, 94.0),
}
"""Table 4: FocusVLA, task by task."""

EXPERT: dict[str, dict[str, tuple[tuple[int, int], ...]]] = {
    "libero_wide": {
        "libero_spatial": tuple((solved, 20) for solved in (20, 20, 20, 20, 16, 19, 20, 19, 20, 20)),
        "libero_object": tuple((solved, 20) for solved in (20, 20, 20, 20, 20, 20, 20, 20, 20, 20)),
        "libero_goal": tuple((solved, 20) for solved in (19, 20, 19, 19, 20, 20, 19, 20, 20, 17)),
        "libero_10": tuple((solved, 20) for solved in (20, 17, 20, 20, 20, 20, 20, 20, 18, 19)),
    }
}
"""The scripted expert's successes and starts, by protocol, suite and task: `python benchmarks/experts.py --protocol`."""
