"""Physical units to network units and back."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from focusvla.data.memory import MemorySource
from focusvla.data.normalization import (
    Normalizer,
    Quantiles,
    Statistics,
    StatisticsByPart,
    action_normalizer,
    state_normalizer,
    untouched_dimensions,
)
from focusvla.errors import ConfigurationError, DataError
from focusvla.suites.libero import libero_spec
from focusvla_client import Spec

# A wide, a narrow and a constant dimension, and a gripper that is normalized already.
QUANTILES = Quantiles(q01=(-10.0, 0.5, 3.0, -1.0), q99=(30.0, 0.75, 3.0, 1.0))
WITHIN = arrays.arrays(np.float32, (5, 4), elements=st.floats(0, 1, width=32))


def _normalizer(limit: float = 1.0) -> Normalizer:
    return Normalizer(QUANTILES, limit=limit, untouched=(3,))


def test_quantiles_become_minus_one_and_one_and_the_gripper_is_untouched():
    values = np.array([[-10, 0.5, 3, -1], [10, 0.625, 3, 0.5], [30, 0.75, 3, 1]], np.float32)
    expected = [[-1, -1, 0, -1], [0, 0, 0, 0.5], [1, 1, 0, 1]]
    np.testing.assert_allclose(_normalizer().normalize(values), expected, atol=1e-6)


def test_values_beyond_the_quantiles_are_clipped_at_the_limit_but_not_the_gripper():
    values = np.array([50, 0.6875, 9, 7], np.float32)
    np.testing.assert_allclose(_normalizer(1.0).normalize(values), [1, 0.5, 0, 7], atol=1e-6)
    np.testing.assert_allclose(_normalizer(1.5).normalize(values), [1.5, 0.5, 0, 7], atol=1e-6)


def test_the_inverse_does_not_clip_and_gives_constants_back():
    values = np.array([2, -2, 0.7, 0.3], np.float32)
    np.testing.assert_allclose(_normalizer().unnormalize(values), [50, 0.375, 3, 0.3], rtol=1e-6)


@given(WITHIN)
def test_normalizing_and_back_is_the_identity_within_the_quantiles(shares: np.ndarray):
    low, high = np.array(QUANTILES.q01), np.array(QUANTILES.q99)
    values = (low + shares * (high - low)).astype(np.float32)
    before = values.copy()
    normalizer = _normalizer()
    restored = normalizer.unnormalize(normalizer.normalize(values))
    np.testing.assert_allclose(restored, values, rtol=1e-6, atol=3e-6)
    np.testing.assert_array_equal(values, before)


@given(WITHIN)
def test_unnormalizing_and_back_is_the_identity(shares: np.ndarray):
    values = 2 * shares - 1
    before = values.copy()
    normalizer = _normalizer()
    restored = normalizer.normalize(normalizer.unnormalize(values))
    np.testing.assert_allclose(restored[:, [0, 1, 3]], values[:, [0, 1, 3]], atol=1e-5)
    np.testing.assert_array_equal(restored[:, 2], 0)
    np.testing.assert_array_equal(values, before)


def test_any_leading_axes_are_kept():
    values = np.zeros((2, 3, 4), np.float32)
    assert _normalizer().normalize(values).shape == (2, 3, 4)
    assert _normalizer().normalize(values).dtype == np.float32


def test_vectors_of_another_width_are_refused():
    with pytest.raises(DataError, match=r"expected vectors of 4 dimensions, got shape \(2, 3\)"):
        _normalizer().normalize(np.zeros((2, 3)))


def test_statistics_survive_json():
    statistics = Statistics(action=QUANTILES, state=Quantiles(q01=(0.1,), q99=(0.2,)))
    assert Statistics.from_dict(statistics.to_dict()) == statistics


def test_statistics_without_an_entry_are_refused():
    with pytest.raises(DataError, match=r"expected q01 and q99 of action and state, got KeyError\('state'\)"):
        Statistics.from_dict({"action": {"q01": [0], "q99": [1]}})


@pytest.mark.parametrize(("q01", "q99"), [((0.0,), (1.0, 2.0)), ((2.0,), (1.0,)), ((float("nan"),), (1.0,))])
def test_impossible_quantiles_are_refused(q01: tuple[float, ...], q99: tuple[float, ...]):
    with pytest.raises(DataError, match="Compute them again"):
        Quantiles(q01=q01, q99=q99)


def _statistics(width: int = 1, largest: float = 1.0) -> Statistics:
    quantiles = Quantiles(q01=(0.0,) * width, q99=(largest,) * width)
    return Statistics(action=quantiles, state=quantiles)


def test_statistics_of_a_mixture_survive_json_under_the_names_of_its_parts():
    by_part = StatisticsByPart({"object": _statistics(), "action": _statistics(largest=2.0)})
    assert list(by_part.to_dict()) == ["object", "action"]
    assert StatisticsByPart.from_dict(by_part.to_dict()) == by_part


def test_statistics_of_a_single_data_set_are_written_as_they_always_were():
    assert StatisticsByPart({"": _statistics()}).to_dict() == _statistics().to_dict()
    assert StatisticsByPart.from_dict(_statistics().to_dict()).choose() == _statistics()


@pytest.mark.parametrize(
    "values",
    [
        {},
        [1],
        {"object": {"action": {}}},
        {"action": {"q01": [0], "q99": [1]}},
        {name: {"q01": [0], "q99": ["wide"]} for name in ("action", "state")},
    ],
)
def test_what_is_no_statistics_by_part_is_refused(values: object):
    with pytest.raises(DataError, match="expected q01 and q99 of action and state"):
        StatisticsByPart.from_dict(values)


def test_statistics_are_chosen_by_name_and_need_none_if_there_is_but_one():
    one, other = _statistics(), _statistics(largest=2.0)
    assert StatisticsByPart({"object": one}).choose() == one
    both = StatisticsByPart({"object": one, "spatial": other})
    assert both.choose("spatial") == other
    with pytest.raises(
        ConfigurationError, match=r"expected the name of one of 'object', 'spatial'.* got none"
    ):
        both.choose()
    with pytest.raises(ConfigurationError, match="statistics='spacial' is unknown; did you mean 'spatial'"):
        both.choose("spacial")


def test_statistics_of_another_width_than_the_spec_are_refused(spec: Spec):
    fitting = Statistics(action=_statistics(3).action, state=_statistics(2).state)
    StatisticsByPart({"a": fitting}).require_fitting(spec)
    with pytest.raises(
        DataError, match=r"b: statistics.action: expected 3 dimensions .*\(dx, dy, gripper\), got 2"
    ):
        StatisticsByPart({"a": fitting, "b": _statistics(2)}).require_fitting(spec)
    with pytest.raises(DataError, match=r"^statistics.state: expected 2 dimensions"):
        StatisticsByPart({"": _statistics(3)}).require_fitting(spec)


def test_a_gripper_commanded_by_minus_one_and_one_is_untouched(spec: Spec):
    assert untouched_dimensions(spec) == (2,)
    assert untouched_dimensions(replace(spec, gripper="absolute")) == ()
    assert untouched_dimensions(replace(spec, grippers=spec.action[:1])) == (0,)


def test_a_gripper_without_a_name_is_refused(spec: Spec):
    with pytest.raises(ConfigurationError, match="expected a name containing 'gripper'"):
        untouched_dimensions(replace(spec, action=("a", "b", "c")))


def test_the_normalizers_of_a_data_set(memory: MemorySource):
    statistics = memory.statistics()
    action = action_normalizer(statistics, memory.spec).normalize(memory.episode(0).action)
    # The second dimension is constant, the third a gripper.
    np.testing.assert_array_equal(action[:, 1], 0)
    np.testing.assert_array_equal(action[:, 2], [-1, -1, 1, 1])
    assert np.abs(action).max() <= 1
    state = state_normalizer(statistics, 1.5)
    assert state.normalize(np.array([1e6, -1e6], np.float32)).tolist() == [1.5, -1.5]


def test_policies_of_vla_adapter_see_and_command_as_it_has_it():
    """The third dimension is constant, the last is the gripper: -1 opens it, which is 1 to the network."""
    spec = replace(libero_spec(1), action=("x", "y", "z", "gripper"), state=("x", "y", "z", "w"))
    ranges = Quantiles(q01=(-10.0, 0.5, 3.0, 0.0), q99=(30.0, 0.75, 3.0, 1.0))
    statistics = Statistics(action=ranges, state=ranges)
    action = action_normalizer(statistics, spec, "vla_adapter")
    np.testing.assert_allclose(
        action.normalize(np.array([10, 0.75, 3, -1], np.float32)), [0, 1, -1, 1], atol=1e-6
    )
    answers = np.array([[0, 2, 1, 0.51], [0, 0, 0, 0.5], [0, 0, 0, 0.49], [0, 0, 0, 7]], np.float32)
    commands = action.unnormalize(answers)
    np.testing.assert_allclose(commands[0, :3], [10, 0.875, 3], rtol=1e-6)
    assert commands[:, 3].tolist() == [-1, 0, 1, -1]
    state = state_normalizer(statistics, 1.0, "vla_adapter")
    far = np.array([40, 0.75, 3.0, 0.25], np.float32)
    np.testing.assert_allclose(state.normalize(far), [1, 1, -1, -0.5], atol=1e-6)


def test_normalization_of_vla_adapter_is_its_formula_to_the_last_bit_of_32():
    rng = np.random.default_rng(0)
    low, spread = rng.normal(size=7), rng.uniform(0.001, 2, 7)
    high = low + spread
    ranges = Quantiles(q01=tuple(low), q99=tuple(high))
    statistics = Statistics(action=ranges, state=ranges)
    halves = (
        rng.integers(-128, 129, (500, 7)).astype(np.float32) / 128
    )  # bfloat16's numbers, as its policies answer
    expected = np.float32(0.5) * (halves + np.float32(1)) * (high - low + 1e-8) + low
    commands = action_normalizer(statistics, libero_spec(1), "vla_adapter").unnormalize(halves)
    np.testing.assert_array_equal(commands[:, :6], expected[:, :6].astype(np.float32))
    states = (low + rng.uniform(-0.5, 1.5, (500, 7)) * spread).astype(np.float32)
    expected = np.clip(2 * (states - low) / (high - low + 1e-8) - 1, -1, 1).astype(np.float32)
    np.testing.assert_array_equal(
        state_normalizer(statistics, 1.0, "vla_adapter").normalize(states), expected
    )
