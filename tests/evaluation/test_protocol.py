"""Protocols are names for numbers that must agree."""

import pytest

from focusvla.config.suites import clean_suite
from focusvla.errors import ConfigurationError
from focusvla.evaluation.protocol import PROTOCOLS, protocol


def test_the_published_protocol_has_the_published_numbers():
    """Source: OpenVLA and VLA-Adapter, run_libero_eval.py."""
    published = protocol("libero_openvla")
    steps = [published.max_steps_of(f"libero_{suite}") for suite in ("spatial", "object", "goal", "10")]
    assert steps == [220, 280, 300, 520]
    assert (published.settle_steps, published.trials_per_task, published.environment_seed) == (10, 50, 0)
    start = published.start("libero_object", 7)
    assert (start.init_state, start.seed, start.displacement_meters) == (7, 0, 0.0)


def test_widened_starts_differ_from_the_published_ones_in_the_displacement_and_its_seed_only():
    wide, published = protocol("libero_wide"), protocol("libero_openvla")
    starts = [wide.start("libero_object", n) for n in range(3)]
    assert [start.displacement_meters for start in starts] == [0.08] * 3
    assert [start.seed for start in starts] == [1_000_000, 1_000_001, 1_000_002]
    assert set(wide.displacement_meters) >= {"libero_spatial", "libero_object", "libero_goal", "libero_10"}
    assert (wide.max_steps, wide.settle_steps) == (published.max_steps, published.settle_steps)


def test_seeds_of_widened_starts_are_none_that_demonstrations_draw_their_displacements_from():
    """Demonstrations start from fresh resets, the protocol from init states; so no start can be shared."""
    assert all(
        p.start("libero_goal", trial).init_state == trial
        for p in PROTOCOLS.values()
        if p.uses_init_states
        for trial in range(50)
    )


def test_variants_of_a_suite_have_its_steps_and_its_displacement():
    wide = protocol("libero_wide")
    assert clean_suite("libero_10_with_mug") == "libero_10"
    assert wide.max_steps_of("libero_goal_swap") == 300
    assert wide.start("libero_goal_swap", 0) == wide.start("libero_goal", 0)


def test_an_unknown_protocol_and_a_suite_outside_it_are_named():
    with pytest.raises(ConfigurationError, match="did you mean 'libero_wide'"):
        protocol("libero_wid")
    with pytest.raises(
        ConfigurationError, match="suite='aloha': protocol 'libero_wide' covers libero_spatial"
    ):
        protocol("libero_wide").max_steps_of("aloha")
