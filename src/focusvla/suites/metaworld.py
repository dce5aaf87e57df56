"""MetaWorld's MT50: fifty tasks of one arm, in four levels, as LeRobot evaluates them.

Levels, and the order of tasks in them, are those of LeRobot 0.6.1 (`lerobot/envs/metaworld_config.json`), which
recommends 10 episodes a task (https://huggingface.co/docs/lerobot/metaworld).
"""

from dataclasses import replace

from focusvla.suites.protocol import Protocol
from focusvla.suites.suite import Conventions, Suite
from focusvla_client import Camera, Spec
from focusvla_client.spec import ACTION_POSITION_DELTA, GRIPPER_EFFORT, IMAGE_UPRIGHT, ROTATION_NONE

CAMERA = "image"
MAX_STEPS = 500
"""The simulator's own horizon, after which it refuses to go on."""

INSTRUCTIONS: dict[str, dict[str, str]] = {
    "metaworld_easy": {
        "button-press-v3": "press the button on the wall of the box",
        "button-press-topdown-v3": "press the button from above",
        "button-press-topdown-wall-v3": "reach over the wall and press the button from above",
        "button-press-wall-v3": "reach around the wall and press the button",
        "coffee-button-v3": "press the button of the coffee machine",
        "dial-turn-v3": "turn the dial",
        "door-close-v3": "close the door",
        "door-lock-v3": "lock the door",
        "door-open-v3": "open the door",
        "door-unlock-v3": "unlock the door",
        "drawer-close-v3": "push the drawer shut",
        "drawer-open-v3": "pull the drawer open",
        "faucet-close-v3": "turn the faucet clockwise",
        "faucet-open-v3": "turn the faucet counterclockwise",
        "handle-press-v3": "press the handle down",
        "handle-press-side-v3": "press the handle at the side down",
        "handle-pull-v3": "pull the handle up",
        "handle-pull-side-v3": "pull the handle at the side up",
        "lever-pull-v3": "pull the lever up",
        "plate-slide-v3": "slide the plate into the cabinet",
        "plate-slide-back-v3": "slide the plate back out of the cabinet",
        "plate-slide-back-side-v3": "slide the plate sideways out of the cabinet",
        "plate-slide-side-v3": "slide the plate sideways into the cabinet",
        "reach-v3": "move the hand to the red mark",
        "reach-wall-v3": "move the hand over the wall to the red mark",
        "window-close-v3": "push the window shut",
        "window-open-v3": "push the window open",
        "peg-unplug-side-v3": "unplug the peg from the side",
    },
    "metaworld_medium": {
        "basketball-v3": "drop the ball into the basket",
        "bin-picking-v3": "move the block from one bin to the other",
        "box-close-v3": "put the lid on the box",
        "coffee-pull-v3": "pull the mug away from the coffee machine",
        "coffee-push-v3": "push the mug under the coffee machine",
        "hammer-v3": "hammer the nail into the wall",
        "peg-insert-side-v3": "insert the peg sideways into the hole",
        "push-wall-v3": "push the block around the wall to the mark",
        "soccer-v3": "push the ball into the goal",
        "sweep-v3": "sweep the block off the table",
        "sweep-into-v3": "sweep the block into the hole",
    },
    "metaworld_hard": {
        "assembly-v3": "put the ring over the peg",
        "hand-insert-v3": "push the hand into the hole",
        "pick-out-of-hole-v3": "take the block out of the hole",
        "pick-place-v3": "pick up the block and hold it at the mark",
        "push-v3": "push the block to the mark",
        "push-back-v3": "pull the block back to the mark",
    },
    "metaworld_very_hard": {
        "shelf-place-v3": "put the block on the shelf",
        "disassemble-v3": "take the ring off the peg",
        "stick-pull-v3": "pull the container with the stick",
        "stick-push-v3": "push the container with the stick",
        "pick-place-wall-v3": "pick up the block and hold it at the mark behind the wall",
    },
}
"""By suite, the tasks by the simulator's names. The sentences are ours: the simulator has none, and LeRobot's are other
words, so a policy trained on its data set reads them as paraphrases."""


def metaworld_spec(image_size: int) -> Spec:
    """The conventions of MetaWorld policies in LeRobot, with square images of `image_size` pixels: the camera `corner2`
    from nearer, upright; the hand's place in meters and how far its fingers are open, 0 to 1; displacements of the hand,
    of which a full command is 1 cm."""
    return Spec(
        cameras=(Camera(CAMERA, image_size, image_size),),
        image_orientation=IMAGE_UPRIGHT,
        state=("x", "y", "z", "gripper"),
        action=("x", "y", "z", "gripper"),
        action_space=ACTION_POSITION_DELTA,
        rotation=ROTATION_NONE,
        gripper=GRIPPER_EFFORT,
        control_rate_hz=80.0,
    )


def _protocol(name: str, seed: int, source: str) -> Protocol:
    return Protocol(
        name=name,
        source=source,
        max_steps=dict.fromkeys(INSTRUCTIONS, MAX_STEPS),
        settle_steps=0,
        trials_per_task=10,
        environment_seed=seed,
        uses_init_states=False,
        actions_per_inference=0,
    )


_EXPERT_SOLVES = {
    "metaworld_easy": (
        10,
        10,
        10,
        10,
        10,
        10,
        10,
        10,
        10,
        10,
        10,
        10,
        10,
        10,
        10,
        10,
        10,
        10,
        10,
        10,
        10,
        10,
        10,
        10,
        10,
        10,
        10,
        10,
    ),
    "metaworld_medium": (10, 10, 9, 10, 10, 10, 7, 10, 9, 10, 8),
    "metaworld_hard": (10, 10, 10, 10, 10, 9),
    "metaworld_very_hard": (10, 9, 10, 10, 10),
}
"""Of trials 0 to 9 of `metaworld_lerobot`, task by task, measured with MuJoCo 3.3.7."""

_ROW = Suite(
    name="metaworld_easy",
    conventions=Conventions("metaworld", metaworld_spec, (480,)),
    robot="sawyer",
    environment="focusvla.simulation.metaworld:MetaWorldEnvironment",
    expert="focusvla.demonstrations.metaworld_experts:MetaWorldExpert",
    demonstration_steps=MAX_STEPS,
    protocols=(
        _protocol(
            "metaworld_lerobot", 1000, "lerobot 0.6.1, envs/metaworld.py: seed 1000 plus the trial, 500 steps"
        ),
        _protocol("metaworld_validation", 3_000_000, "starts of its own, to choose a policy by"),
    ),
)
SUITES = tuple(
    replace(
        _ROW,
        name=name,
        expert_solves={"metaworld_lerobot": tuple((solved, 10) for solved in _EXPERT_SOLVES[name])},
    )
    for name in INSTRUCTIONS
)
