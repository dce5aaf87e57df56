"""LIBERO: five suites of one-armed tasks, LIBERO-PRO's variants of them, and the ways in which they are evaluated."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from focusvla.suites.libero_published import EXPERT_SOLVES, PAPER
from focusvla.suites.protocol import Protocol
from focusvla.suites.suite import Conventions, Suite, Variant
from focusvla_client import Camera, Spec
from focusvla_client.spec import (
    ACTION_END_EFFECTOR_DELTA,
    GRIPPER_OPEN_NEGATIVE,
    IMAGE_BOTTOM_UP_ROTATED_180,
    ROTATION_AXIS_ANGLE,
)

LIBERO_CAMERAS = ("image", "image2")
"""Of the scene and of the hand, as the published LeRobot conversion calls them."""
OPENPI_IMAGE_FIELDS: Mapping[str, str] = MappingProxyType(
    dict(zip(LIBERO_CAMERAS, ("observation/image", "observation/wrist_image"), strict=True))
)
"""What openpi's client for LIBERO calls them."""
OPENPI_IMAGE_SIZE = 224
"""Pixels a side of the pictures that it sends."""


def libero_spec(image_size: int) -> Spec:
    """The conventions of LIBERO policies, with square images of `image_size` pixels."""
    return Spec(
        cameras=tuple(Camera(name, image_size, image_size) for name in LIBERO_CAMERAS),
        image_orientation=IMAGE_BOTTOM_UP_ROTATED_180,
        state=("x", "y", "z", "axis_angle_x", "axis_angle_y", "axis_angle_z", "finger_left", "finger_right"),
        action=("x", "y", "z", "axis_angle_x", "axis_angle_y", "axis_angle_z", "gripper"),
        action_space=ACTION_END_EFFECTOR_DELTA,
        rotation=ROTATION_AXIS_ANGLE,
        gripper=GRIPPER_OPEN_NEGATIVE,
        control_rate_hz=20.0,
    )


def is_mislabeled_libero(spec: Spec, rate_hz: float) -> bool:
    """Whether a data set of LIBERO's conventions claims the rate of 10 Hz that published LeRobot conversions do.

    Their actions are LIBERO's own, for 20 Hz: a policy of 92 % falls to 39 % where they are played at 10
    (https://github.com/TensorAuto/OpenTau/pull/312).
    """
    return rate_hz == 10 and replace(spec, cameras=()) == replace(libero_spec(1), cameras=())


_MAX_STEPS = {
    "libero_spatial": 220,
    "libero_object": 280,
    "libero_goal": 300,
    "libero_10": 520,
    "libero_90": 400,
}
"""Control steps that published evaluations give a policy."""
_DISPLACEMENT_METERS = {
    "libero_spatial": 0.04,
    "libero_object": 0.08,
    "libero_goal": 0.06,
    "libero_10": 0.04,
    "libero_90": 0.04,
}

_OPENVLA = Protocol(
    name="libero_openvla",
    revision=2,
    source="OpenVLA's, OpenVLA-OFT's and VLA-Adapter's run_libero_eval.py: 10 settle steps, 50 init states a task, "
    "env.seed(0) once a task, 8 actions of a chunk",
    max_steps=_MAX_STEPS,
    settle_steps=10,
    trials_per_task=50,
    environment_seed=0,
    seeding="each_task",
    scenes_before=1,
)
PROTOCOLS = (
    _OPENVLA,
    replace(
        _OPENVLA, revision=1, seeding="each_trial_alike", scenes_before=0
    ),  # fixtures stood alike in all trials
    replace(
        _OPENVLA,
        name="libero_openpi",
        revision=1,
        source="openpi's examples/libero/main.py: env.seed(7) once a task, 5 actions of a chunk, pictures drawn at "
        "256 pixels and sent at 224",
        environment_seed=7,
        actions_per_inference=5,
        drawn_size=256,
        sent_size=224,
    ),
    replace(
        _OPENVLA,
        name="libero_lerobot",
        revision=1,
        source="lerobot 0.4.4, envs/libero.py and lerobot_eval with as many environments as episodes: seed 1000 plus "
        "the trial at each reset, 280 steps for libero_spatial",
        max_steps=_MAX_STEPS | {"libero_spatial": 280},
        environment_seed=1000,
        seeding="each_trial",
        scenes_before=2,
        actions_per_inference=0,
        drawn_size=256,
    ),
    replace(
        _OPENVLA,
        name="libero_vla_eval",
        revision=1,
        source="vla-eval 0.8.0, its LIBERO benchmark, not sharded: env.seed(7) once a task, pictures of 256 pixels",
        environment_seed=7,
        drawn_size=256,
        gripper="binarized",
    ),
    replace(
        _OPENVLA,
        name="libero_wide",
        revision=1,
        source="this project: libero_openvla with what the task names displaced, so that a policy must look",
        environment_seed=1_000_000,
        seeding="each_trial",
        scenes_before=0,
        displacement_meters=_DISPLACEMENT_METERS,
    ),
    replace(
        _OPENVLA,
        name="libero_disturbed",
        revision=1,
        source="this project: libero_openvla, and after a drawn number of steps what the hand holds falls, or else what "
        "is to be grasped next is moved by 3 to 8 cm",
        disturbed_steps=(20, 100),
    ),
    *(
        replace(
            _OPENVLA,
            name=f"{name}_validation",
            revision=1,
            source="this project: libero_openvla from starts of its own, fresh resets, so that a policy can be chosen "
            "without a look at the test's" + (", and widened" if displacements else ""),
            trials_per_task=20,
            environment_seed=first_seed,
            seeding="each_trial",
            scenes_before=0,
            uses_init_states=False,
            displacement_meters=displacements,
        )
        for name, first_seed, displacements in (
            ("libero", 3_100_000_000, {}),
            ("libero_wide", 3_000_000_000, _DISPLACEMENT_METERS),
        )
    ),
)
"""The published one first; an earlier revision holds the rules that a name had before."""

_RENUMBERED = (0, 4, 8, 1, 5, 9, 2, 6, 3, 7)
_VARIANTS = {
    "_lan": Variant("other words"),
    "_object": Variant("other objects' looks"),
    "_swap": Variant("objects in each other's places"),
    "_task": Variant("another task in the scene"),
    "_with_mug": Variant("with a mug"),
    "_with_yellow_book": Variant("with a yellow book"),
    "_with_milk": Variant("with milk"),
}
"""LIBERO-PRO's."""


def _suite(
    name: str,
    demonstration_steps: int,
    variants: Mapping[str, Variant] | None = None,
    expert: str = "focusvla.demonstrations.experts:ScriptedExpert",
) -> Suite:
    return Suite(
        name=name,
        conventions=Conventions("libero", libero_spec, (256,)),
        robot="panda",
        environment="focusvla.simulation.libero:LiberoEnvironment",
        expert=expert,
        demonstration_steps=demonstration_steps,
        displacement_meters=_DISPLACEMENT_METERS[name],
        arm_displacement_meters=0.08,
        variants=variants or {},
        protocols=PROTOCOLS,
        published=PAPER if name in PAPER.titles else None,
        expert_solves={rules: solved[name] for rules, solved in EXPERT_SOLVES.items() if name in solved},
    )


SUITES = (
    _suite(
        "libero_spatial",
        280,
        _VARIANTS | {"_with_milk": Variant("with milk", (0, 5, 1, 6, 2, 7, 3, 8, 4, 9))},
    ),
    _suite(
        "libero_object",
        280,
        _VARIANTS
        | {
            "_with_mug": Variant("with a mug", _RENUMBERED),
            "_with_yellow_book": Variant("with a yellow book", _RENUMBERED),
            "_with_milk": Variant("with milk", is_complete=False),
        },
    ),
    _suite(
        "libero_goal",
        400,
        _VARIANTS | {"_with_milk": Variant("with milk", (0, 4, 8, 1, 5, 2, 6, 9, 3, 7))},
    ),
    _suite(
        "libero_10",
        600,
        _VARIANTS
        | {
            "_with_yellow_book": Variant("with a yellow book", is_complete=False),
            "_with_milk": Variant("with milk", is_complete=False),
        },
    ),
    _suite("libero_90", 400, expert=""),
)
