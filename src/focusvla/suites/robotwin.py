"""RoboTwin 2.0: its episodes are played in its own Python (`integrations/robotwin`)."""

from focusvla.suites.suite import Conventions, Suite
from focusvla_client.bimanual import robotwin_spec

SUITES = (
    Suite(
        name="robotwin",
        conventions=Conventions("robotwin", robotwin_spec, (240, 320)),
        robot="robotwin",
    ),
)

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
