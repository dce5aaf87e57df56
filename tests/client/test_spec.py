"""Conventions travel as JSON and are compared field by field."""

from __future__ import annotations

import dataclasses
import json

import pytest

from focusvla_client import Camera, Spec, SpecMismatchError
from focusvla_client.spec import (
    ACTION_END_EFFECTOR_DELTA,
    GRIPPER_ABSOLUTE,
    GRIPPER_OPEN_NEGATIVE,
    IMAGE_UPRIGHT,
    ROTATION_AXIS_ANGLE,
)

ARM = Spec(
    cameras=(Camera("image", 128, 128), Camera("wrist", 64, 96)),
    image_orientation=IMAGE_UPRIGHT,
    state=("x", "y", "z"),
    action=("x", "y", "z", "gripper"),
    action_space=ACTION_END_EFFECTOR_DELTA,
    rotation=ROTATION_AXIS_ANGLE,
    gripper=GRIPPER_OPEN_NEGATIVE,
    control_rate_hz=20.0,
)


def test_a_spec_survives_json():
    assert Spec.from_dict(json.loads(json.dumps(ARM.to_dict()))) == ARM


def test_a_missing_and_an_unknown_field_are_named():
    values = {**ARM.to_dict(), "grip": 1}
    del values["gripper"]
    with pytest.raises(ValueError, match=r"missing \['gripper'\], unknown \['grip'\]"):
        Spec.from_dict(values)


def test_every_differing_field_is_listed_with_both_values():
    other = dataclasses.replace(ARM, gripper=GRIPPER_ABSOLUTE, control_rate_hz=10.0)
    with pytest.raises(SpecMismatchError) as caught:
        ARM.require_equal(other, "the policy", "the robot")
    message = str(caught.value)
    assert "differ in 2 convention(s)" in message
    assert "gripper: 'open_negative_one' against 'absolute'" in message
    assert "control_rate_hz: 20.0 against 10.0" in message
    assert "rotation" not in message


def test_equal_specs_pass():
    ARM.require_equal(dataclasses.replace(ARM), "the policy", "the robot")


CLAW = dataclasses.replace(ARM, action=("x", "gripper_x", "claw"), grippers=("claw",))


def test_grippers_are_those_that_the_spec_names_or_else_those_called_so():
    two = dataclasses.replace(ARM, action=("left_gripper", "elbow", "right_gripper"))
    assert [spec.gripper_places for spec in (ARM, two, CLAW)] == [(3,), (0, 2), (2,)]
    assert dataclasses.replace(CLAW, grippers=()).gripper_places == ()
    assert dataclasses.replace(ARM, state=("x", "finger_left", "gripper")).finger_places == (1, 2)


def test_a_spec_of_before_grippers_were_named_is_read_and_written_as_it_was():
    assert "grippers" not in ARM.to_dict()
    assert Spec.from_dict(json.loads(json.dumps(CLAW.to_dict()))) == CLAW
    assert Spec.from_dict({**ARM.to_dict(), "grippers": ["gripper"]}) == ARM
    with pytest.raises(SpecMismatchError, match="grippers: None against \\('x',\\)"):
        ARM.require_equal(dataclasses.replace(ARM, grippers=("x",)), "the policy", "the robot")


def test_a_gripper_that_is_no_action_is_refused():
    with pytest.raises(ValueError, match=r"spec.grippers: expected names in spec.action .* got 'hand'"):
        dataclasses.replace(ARM, grippers=("hand",))
