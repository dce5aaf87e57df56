"""What is evaluated on the way is what the data show."""

import pytest

from focusvla.data.memory import random_source
from focusvla.data.mixture import MixturePart, MixtureSource
from focusvla.errors import ConfigurationError
from focusvla.evaluation.data_suites import tasks_of_data
from focusvla.simulation.environment import suite_task
from focusvla.suites.aloha import aloha_spec
from focusvla.suites.libero import libero_spec

pytestmark = pytest.mark.simulator


def recorded(suite: str, *tasks: int):
    spec = aloha_spec(32) if suite == "aloha" else libero_spec(32)
    return random_source(
        spec, (5,) * len(tasks), tuple(suite_task(suite, task).instruction for task in tasks)
    )


def test_a_data_set_is_of_the_suite_that_has_all_its_instructions():
    assert tasks_of_data(recorded("libero_object", 4, 2, 2)) == {"libero_object": (2, 4)}
    assert tasks_of_data(recorded("aloha", 1)) == {"aloha": (1,)}


def test_a_part_of_a_mixture_is_of_the_suite_whose_name_it_bears_else_of_the_one_with_its_instructions():
    parts = [
        MixturePart(name="mine", source=recorded("libero_10", 0)),
        MixturePart(name="libero_goal_no_noops", source=recorded("libero_spatial", 1)),
        MixturePart(name="also", source=recorded("libero_10", 3)),
    ]
    assert tasks_of_data(MixtureSource(parts)) == {"libero_10": (0, 3), "libero_goal": ()}


def test_instructions_of_no_suite_are_named_with_what_to_say():
    with pytest.raises(ConfigurationError, match=r"got none for 'lift the cup'. Say .*--evaluation.suites"):
        tasks_of_data(random_source(libero_spec(32), (5,), ("lift the cup",)))
