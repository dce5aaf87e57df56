# pyright: reportMissingImports=false
"""`python -m focusvla_so101 spec | look | run`, with LeRobot's own flags of a robot."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import draccus
from lerobot.configs import parser
from lerobot.robots import Robot, RobotConfig, make_robot_from_config, so_follower  # noqa: F401 - registers the arm
from lerobot.utils.import_utils import register_third_party_plugins

from focusvla_client import BlendedPlayer, DryRun, RolloutLog, SpecMismatchError, realtime_rollout
from focusvla_client.errors import PolicyServerError
from focusvla_client.realtime import ENDED_BY_WATCHDOG
from focusvla_client.websocket import WebsocketPolicy
from focusvla_so101.arm import SO101, SetupError, joint_limits

WATCHDOG_SECONDS = 2.0
"""Without an action for so long, the arm is stopped and the command ends."""


@dataclass
class Options:
    """Flags of all three commands."""

    robot: RobotConfig
    """LeRobot's: `--robot.type=so101_follower --robot.port=... --robot.id=... --robot.cameras=...`."""
    fps: float = 30.0
    """Control steps a second, as in the data."""
    output: Path | None = None
    """`spec`: the file to write, meta/spec.json of the data set."""
    instruction: str = ""
    """`run`: the task in words."""
    host: str = "127.0.0.1"
    """`run`: of `focusvla serve`."""
    port: int = 8000
    seconds: float = 60.0
    """`run`: at most."""
    speed_share: float = 0.5
    """`run`: of the greatest speed."""
    log: Path | None = None
    """`run`: folder for what the robot was told."""
    move: bool = False
    """`run`: send commands to the arm."""


def spec(arm: Robot, options: Options) -> None:
    """Write the arm's conventions, by which its data are trained on."""
    if options.output is None:
        raise SetupError("output: expected --output FILE, such as data/cups/meta/spec.json.")
    robot = SO101(arm, options.fps, "")
    options.output.write_text(json.dumps(robot.spec.to_dict(), indent=2) + "\n", "utf-8")
    print(f"spec: {options.output}")


def look(arm: Robot, options: Options) -> None:
    """Print where the arm is and how bright each picture is. Sends nothing."""
    robot = SO101(arm, options.fps, "")
    seen = robot.observe([camera.name for camera in robot.spec.cameras])
    limits = joint_limits(arm, options.speed_share)
    for name, number in zip(robot.spec.state, seen.state, strict=True):
        print(
            f"{name}: {number:.1f}, a policy may go from {limits[name].lower:.1f} to {limits[name].upper:.1f}"
        )
    for name, picture in seen.images.items():
        print(f"{name}: {picture.shape[1]} x {picture.shape[0]}, mean brightness {picture.mean():.0f} of 255")


def run(arm: Robot, options: Options) -> None:
    """Let a served policy move the arm; a dry run unless --move=true is given."""
    if not options.instruction.strip():
        raise SetupError("instruction: expected the task in words.")
    if not 1 / options.fps <= options.seconds < math.inf:
        raise SetupError(f"seconds={options.seconds:g}: expected a finite number, a control period at least.")
    robot = SO101(arm, options.fps, options.instruction)
    limits = joint_limits(arm, options.speed_share)
    with WebsocketPolicy(options.host, options.port, spec=robot.spec) as policy:
        half = max(1, policy.chunk_length // 2)
        result = realtime_rollout(
            robot if options.move else DryRun(robot),
            policy,
            BlendedPlayer(half, half // 2, robot.spec.gripper_places),
            None,
            limits=limits,
            max_steps=round(options.seconds * options.fps),
            watchdog_seconds=WATCHDOG_SECONDS,
            observers=[RolloutLog(options.log, robot.spec)] if options.log else [],
        )
    print(
        f"{'Moved' if options.move else 'Dry run:'} {result.steps} steps, {result.held_steps} held, "
        f"{result.limited_steps} limited, {result.missed_steps} missed; {result.inferences} inferences, the slowest took "
        f"{result.largest_latency_steps} steps. Ended by {result.ended_by}."
    )
    if result.ended_by == ENDED_BY_WATCHDOG:
        raise SetupError(
            f"No action came for {WATCHDOG_SECONDS} s, and the arm was stopped. Look at the server."
        )


COMMANDS = {each.__name__: each for each in (spec, look, run)}


def main() -> None:
    """Run the command line; exits with code 2 and a message on an error that the operator can fix."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in COMMANDS:
        what = "\n".join(f"  {each:5} {command.__doc__}" for each, command in COMMANDS.items())
        print(
            f"usage: python -m focusvla_so101 COMMAND --robot.type=so101_follower ...\n\n{what}",
            file=sys.stderr,
        )
        sys.exit(2)
    register_third_party_plugins()
    chosen = [each for each in sys.argv[2:] if ".discover_packages_path=" not in each]
    for package in parser.parse_plugin_args(parser.PLUGIN_DISCOVERY_SUFFIX, sys.argv[2:]).values():
        parser.load_plugin(package)
    try:
        options = draccus.parse(Options, args=chosen)
        if not getattr(options.robot, "use_degrees", True):
            raise SetupError("robot.use_degrees=false: expected degrees, in which data and limits are here.")
        arm = make_robot_from_config(options.robot)
        arm.connect()
        try:
            COMMANDS[name](arm, options)
        finally:
            arm.disconnect()
    except (SetupError, PolicyServerError, SpecMismatchError, FileExistsError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
