"""A small folder in LIBERO-Plus's format: two of LIBERO-Goal's tasks, changed in each of its ways."""

import json
from pathlib import Path

ARM = (0.1, -0.2, 0.05, -2.4, -0.1, 2.2, 0.9)
STOVE = "turn_on_the_stove"
NAMES = (
    f"{STOVE}_view_318_15_100_0_0_initstate_0",
    f"{STOVE}_view_0_0_130_4_356_initstate_0",
    f"{STOVE}_view_0_0_100_0_0_initstate_7",
    f"{STOVE}_view_0_0_100_0_0_initstate_0_noise_28",
    f"{STOVE}_language_3_view_0_0_100_0_0_initstate_0",
    f"{STOVE}_light_4",
    f"{STOVE}_table_5",
    f"{STOVE}_tb_6",
    f"{STOVE}_moved_level2_sample1",
    f"{STOVE}_add_9",
    "put_the_bowl_on_the_stove_view_11_0_100_0_0_initstate_0",
)
BDDL = """(define (problem {problem})
  (:domain robosuite)
  (:language {words})
    (:regions (top (:target table) (:yaw_rotation ((0.0 0.0)))))
)
"""
ROBOTS = """import numpy as np
raise SystemExit("this is read and never run")
class MountedPanda(ManipulatorModel):
    @property
    def init_qpos(self):
        return np.array([0, np.pi / 4])
class MountedPanda7(MountedPanda):
    @property
    def init_qpos(self):
        return np.array([{joints}])
"""
PROBLEMS = """class Libero_Table(Base):
    def __init__(self, **kwargs):
        kwargs.update({"scene_xml": "scenes/usual.xml"})
class Libero_Table_Dim(Libero_Table):
    def __init__(self, **kwargs):
        kwargs.update({"scene_xml": "scenes/lights/dim.xml"})
class Libero_Table_Marble(Libero_Table):
    def __init__(self, **kwargs):
        kwargs.update({"scene_properties": {"wall_style": "marble"}})
"""


def write_plus(root: Path, names: tuple[str, ...] = NAMES) -> Path:
    """Write it to `root`. The level of difficulty of the n-th task is n modulo 3, and 0 is not known."""
    listed = {"libero_goal": list(names), "libero_spatial": [], "libero_object": [], "libero_10": []}
    files = {
        "benchmark/libero_suite_task_map.py": f"libero_task_map = {listed!r}\n",
        "benchmark/task_classification.json": json.dumps(
            {
                "libero_goal": [
                    {"id": n, "name": name, "category": "", "difficulty_level": n % 3 or None}
                    for n, name in enumerate(names)
                ]
            }
        ),
        "envs/robots/mounted_panda.py": ROBOTS.replace("{joints}", ", ".join(map(str, ARM))),
        "envs/problems/tables.py": PROBLEMS,
    }
    for name in names:
        problem = {"_light": "Libero_Table_Dim", "_tb_6": "Libero_Table_Marble"}
        chosen = next((problem[part] for part in problem if part in name), "Libero_Table")
        file = f"bddl_files/libero_goal/{name.partition('_view_')[0]}.bddl"
        files[file] = BDDL.format(problem=chosen, words="Switch  the cooker\n on")
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
    return root
