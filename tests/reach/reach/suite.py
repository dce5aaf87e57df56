"""The suite's row."""

from focusvla.suites import Conventions, Protocol, Suite
from focusvla_client import Camera, Spec
from focusvla_client.spec import ACTION_POSITION_DELTA, GRIPPER_NONE, IMAGE_UPRIGHT, ROTATION_NONE


def reach_spec(image_size: int) -> Spec:
    """One camera above the table; states are the hand's place, actions its displacement in the plane."""
    return Spec(
        cameras=(Camera("above", image_size, image_size),),
        image_orientation=IMAGE_UPRIGHT,
        state=("x", "y"),
        action=("x", "y"),
        action_space=ACTION_POSITION_DELTA,
        rotation=ROTATION_NONE,
        gripper=GRIPPER_NONE,
        control_rate_hz=10.0,
    )


SUITES = (
    Suite(
        name="reach",
        conventions=Conventions("reach", reach_spec, (32,)),
        robot="hand",
        environment="reach.environment:ReachEnvironment",
        expert="reach.expert:ReachExpert",
        demonstration_steps=40,
        displacement_meters=0.1,
        arm_displacement_meters=0.1,
        protocols=(
            Protocol(
                name="reach",
                source="tests/reach",
                max_steps={"reach": 40},
                settle_steps=1,
                trials_per_task=4,
                environment_seed=0,
                actions_per_inference=4,
            ),
        ),
    ),
)
