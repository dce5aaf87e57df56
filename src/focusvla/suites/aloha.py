"""ALOHA in simulation: gym-aloha's two tasks of two arms."""

from focusvla.suites.protocol import Protocol
from focusvla.suites.suite import Conventions, Suite
from focusvla_client import Camera, Spec
from focusvla_client.bimanual import bimanual_spec

ALOHA_CAMERAS = ("top", "left_wrist", "right_wrist")
"""As the simulator calls them: one over the table, one on each hand. In pictures of 128 pixels a pixel of the first is a
centimeter wide, which is too coarse to meet a peg."""

ALOHA_JOINTS = ("waist", "shoulder", "elbow", "forearm_roll", "wrist_angle", "wrist_rotate")
"""Of each arm."""

ALOHA_SUITE = "aloha"


def aloha_spec(image_size: int) -> Spec:
    """The conventions of ALOHA policies, with square images of `image_size` pixels."""
    cameras = [Camera(name, image_size, image_size) for name in ALOHA_CAMERAS]
    return bimanual_spec(ALOHA_JOINTS, cameras, control_rate_hz=50.0)


# gym-aloha draws its starts from 20 by 40 cm, and its arms begin at home: nothing is displaced.
SUITES = (
    Suite(
        name=ALOHA_SUITE,
        conventions=Conventions("aloha", aloha_spec, (256,)),
        robot="aloha",
        environment="focusvla.simulation.aloha:AlohaEnvironment",
        expert="focusvla.demonstrations.aloha_experts:AlohaExpert",
        demonstration_steps=400,
        protocols=(
            Protocol(
                name="aloha_gym",
                source="gym-aloha: each trial's poses drawn by its own reset from seed 2,000,000 plus the trial; "
                "400 steps",
                max_steps={ALOHA_SUITE: 400},
                settle_steps=0,
                trials_per_task=50,
                environment_seed=2_000_000,
                uses_init_states=False,
            ),
        ),
    ),
)
