"""Protocols are names for numbers that must agree."""

import pytest

from focusvla.errors import ConfigurationError
from focusvla.suites import Start, clean_suite, protocol, protocol_of, protocols


def test_the_published_protocol_has_the_published_numbers():
    """Source: OpenVLA and VLA-Adapter, run_libero_eval.py."""
    published = protocol("libero_openvla")
    steps = [published.max_steps_of(f"libero_{suite}") for suite in ("spatial", "object", "goal", "10")]
    assert steps == [220, 280, 300, 520]
    assert (published.settle_steps, published.trials_per_task, published.environment_seed) == (10, 50, 0)
    # The task is seeded once, in a scene that was built, and the resets of trials 0 to 6 drew from it before this one's.
    assert published.start("libero_object", 7) == Start(
        init_state=7, seed=0, resets_before=7, scenes_before=1
    )
    assert published.actions_per_inference == 8


def test_what_others_mean_by_libero_is_what_their_scripts_do():
    """Sources: openpi, examples/libero/main.py; lerobot 0.4.4, envs/libero.py; vla-eval 0.8.0, benchmarks/libero."""
    openpi, lerobot, vla_eval = (protocol(f"libero_{name}") for name in ("openpi", "lerobot", "vla_eval"))
    assert openpi.start("libero_goal", 2) == Start(init_state=2, seed=7, resets_before=2, scenes_before=1)
    assert (openpi.actions_per_inference, openpi.drawn_size, openpi.sent_size) == (5, 256, 224)
    assert lerobot.start("libero_goal", 2) == Start(init_state=2, seed=1002, scenes_before=2)
    assert lerobot.max_steps_of("libero_spatial") == 280
    assert vla_eval.start("libero_goal", 2) == openpi.start("libero_goal", 2)
    assert (vla_eval.drawn_size, vla_eval.gripper) == (256, "binarized")
    for other in (openpi, lerobot, vla_eval):
        others = [other.max_steps_of(f"libero_{suite}") for suite in ("object", "goal", "10", "90")]
        assert (others, other.settle_steps, other.trials_per_task) == ([280, 300, 520, 400], 10, 50)


def test_results_of_before_are_shown_under_the_rules_that_they_were_made_by():
    earlier = protocol("libero_openvla", 1)
    assert earlier.start("libero_goal", 7) == Start(init_state=7, seed=0)
    assert earlier.max_steps == protocol("libero_openvla").max_steps
    with pytest.raises(ConfigurationError, match="protocol_revision=3: expected at most 2"):
        protocol("libero_openvla", 3)


def test_widened_starts_differ_from_the_published_ones_in_the_displacement_and_its_seed_only():
    wide, published = protocol("libero_wide"), protocol("libero_openvla")
    starts = [wide.start("libero_object", n) for n in range(3)]
    assert [start.displacement_meters for start in starts] == [0.08] * 3
    assert [start.seed for start in starts] == [1_000_000, 1_000_001, 1_000_002]
    assert set(wide.displacement_meters) >= {"libero_spatial", "libero_object", "libero_goal", "libero_10"}
    assert (wide.max_steps, wide.settle_steps) == (published.max_steps, published.settle_steps)


def test_validation_starts_are_none_of_the_test_and_else_played_by_its_rules():
    for name, tested in (("libero_validation", "libero_openvla"), ("libero_wide_validation", "libero_wide")):
        validation, test = protocol(name), protocol(tested)
        starts = [validation.start("libero_goal", n) for n in range(50)]
        assert all(start.init_state is None for start in starts)
        assert len({start.seed for start in starts}) == 50
        assert starts[0].displacement_meters == test.start("libero_goal", 0).displacement_meters
        assert validation.max_steps == test.max_steps
        assert validation.settle_steps == test.settle_steps


def test_disturbed_episodes_begin_as_the_published_ones():
    disturbed, published = protocol("libero_disturbed"), protocol("libero_openvla")
    assert disturbed.disturbed_steps == (20, 100)
    assert published.disturbed_steps is None
    for suite in ("libero_object", "libero_10"):
        assert disturbed.start(suite, 7) == published.start(suite, 7)
        assert disturbed.max_steps_of(suite) == published.max_steps_of(suite)


def test_seeds_of_widened_starts_are_none_that_demonstrations_draw_their_displacements_from():
    """Demonstrations start from fresh resets, the protocol from init states; so no start can be shared."""
    assert all(
        p.start("libero_goal", trial).init_state == trial
        for p in protocols().values()
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
        protocol_of(["aloha"], "libero_wide")


def test_without_a_name_the_usual_protocol_of_the_suites_is_meant():
    assert protocol_of(["libero_goal", "libero_10_with_mug"]).name == "libero_openvla"
    assert protocol_of(["aloha"]).name == "aloha_gym"
    with pytest.raises(ConfigurationError, match="got libero_openvla for libero_goal, aloha_gym for aloha"):
        protocol_of(["libero_goal", "aloha"])
    with pytest.raises(ConfigurationError, match="did you mean 'libero_goal'"):
        protocol_of(["libero_gaol"])
