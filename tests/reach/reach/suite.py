"""The rows of four suites that differ in their words alone, as much like LIBERO's in form as a flat world can be."""

from dataclasses import replace

from focusvla.suites import Conventions, Protocol, Suite, Variant
from focusvla_client import Camera, Spec
from focusvla_client.spec import ACTION_POSITION_DELTA, GRIPPER_NONE, IMAGE_UPRIGHT, ROTATION_NONE

WORDS = {"reach": "reach", "reach_goal": "touch", "reach_spatial": "find", "reach_10": "go to"}
"""What the instructions of each suite begin with."""


def reach_spec(image_size: int) -> Spec:
    """A camera above the table and one on the hand; states are the hand's place, actions its displacement."""
    return Spec(
        cameras=(Camera("image", image_size, image_size), Camera("image2", image_size, image_size)),
        image_orientation=IMAGE_UPRIGHT,
        state=("x", "y"),
        action=("x", "y"),
        action_space=ACTION_POSITION_DELTA,
        rotation=ROTATION_NONE,
        gripper=GRIPPER_NONE,
        control_rate_hz=10.0,
    )


def _protocol(name: str, max_steps: int = 40, **values) -> Protocol:
    return Protocol(
        name=name,
        source="tests/reach",
        max_steps=dict.fromkeys(WORDS, max_steps),
        settle_steps=1,
        trials_per_task=4,
        environment_seed=0,
        actions_per_inference=4,
        **values,
    )


_ROW = Suite(
    name="reach",
    conventions=Conventions("reach", reach_spec, (32,)),
    robot="hand",
    environment="reach.environment:ReachEnvironment",
    expert="reach.expert:ReachExpert",
    demonstration_steps=40,
    displacement_meters=0.1,
    arm_displacement_meters=0.1,
    variants={"_swap": Variant("objects in each other's places")},
    protocols=(
        _protocol("reach"),
        _protocol("reach_long", max_steps=120),
        _protocol("reach_wide", displacement_meters=dict.fromkeys(WORDS, 0.1)),
        _protocol("reach_disturbed", disturbed_steps=(2, 8)),
        _protocol("reach_resized", drawn_size=64, sent_size=48),
    ),
)
SUITES = [replace(_ROW, name=name) for name in WORDS]
