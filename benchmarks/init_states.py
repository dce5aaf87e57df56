"""How far the benchmark's own init states move what a task is about: nothing is drawn, nothing is played.

Per task, over its init states, after the 10 settling steps that every evaluation begins with: the objects that the goal
names (a region, such as a basket's inside, counts as the object it belongs to), and everything else movable. Fixtures
(cabinets, stoves) are no part of an init state.

    python benchmarks/init_states.py [--suite libero_spatial ...] [--init-states 50] [--workers 0] [--quick]

A Markdown row per task is printed; the last line is a JSON object with lengths in centimeters: per suite the greatest and
smallest movement of what its goals name and of their targets (the first named object), and the targets that stay within
0.01 mm over all init states. `settling_cm` is how much settling changes the movement of a named object at most.
"""

import argparse
import json
import time
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.progress import track

from focusvla.simulation.environment import only_environment
from focusvla.simulation.libero import LiberoEnvironment, libero_tasks
from focusvla.simulation.workers import Call, simulate
from focusvla.suites import Start

UNMOVED_CM = 0.001

SUITES = ("libero_spatial", "libero_object", "libero_goal", "libero_10")


@dataclass(frozen=True, order=True)
class Movement:
    """How far one task's init states move its objects."""

    suite: str
    task: int
    instruction: str
    init_states: int
    named: dict[str, float]
    """Objects that the goal names, and their greatest distance from their mean place, centimeters."""
    spread_cm: float
    """Root mean square distance from the mean place, largest of the named objects."""
    yaw_degrees: float
    """Standard deviation of the turn about the vertical, largest of the named objects."""
    others_cm: float
    """Greatest distance of any other movable object from its mean place."""
    others_unsettled_cm: float
    """The same in the init-state vectors: an object that topples while the scene settles rolls far."""
    settling_cm: float
    """How much a named object's greatest distance differs at most from that in the init-state vectors."""

    @property
    def target_cm(self) -> float | None:
        """The target's greatest distance; None where the goal names nothing movable."""
        return next(iter(self.named.values()), None)


def named_objects(environment: LiberoEnvironment) -> list[str]:
    """The movable objects that the goal names, itself or by one of its regions, in the goal's order."""
    scene = environment.scene
    return list(
        dict.fromkeys(
            owner
            for _, *names in scene.goal
            for name in names
            for owner in scene.object_names
            if f"{name}_".startswith(f"{owner}_")
        )
    )


def distances_cm(places: np.ndarray) -> np.ndarray:
    """Distance of each place, meters, from the mean of all."""
    return 100 * np.linalg.norm(places - places.mean(axis=0), axis=1)


def yaw_spread_degrees(rotations: np.ndarray) -> float:
    """Standard deviation of the turn about the vertical, measured from the first rotation."""
    turned = rotations @ rotations[0].T
    yaw = np.arctan2(turned[:, 1, 0] - turned[:, 0, 1], turned[:, 0, 0] + turned[:, 1, 1])
    middle = np.angle(np.exp(1j * yaw).mean())
    return float(np.degrees(np.sqrt(np.mean(np.angle(np.exp(1j * (yaw - middle))) ** 2))))


def unsettled_places(environment: LiberoEnvironment, name: str, init_states: int) -> np.ndarray:
    """Where the init-state vectors (time, then joint positions, then velocities) put an object, meters."""
    body = environment._environment.obj_body_id[name]
    model = environment.scene.model
    address = 1 + model.jnt_qposadr[model.body_jntadr[body]]
    return np.asarray(environment._init_states)[:init_states, address : address + 2]


def measure(suite: str, task: int, init_states: int) -> Movement:
    """Reset to each of the first `init_states` init states and look where things are."""
    environment = only_environment(suite, task, image_size=64)
    assert isinstance(environment, LiberoEnvironment)
    scene = environment.scene
    init_states = min(init_states, environment.task.num_init_states)
    places: dict[str, list[np.ndarray]] = {name: [] for name in scene.object_names}
    rotations: dict[str, list[np.ndarray]] = {name: [] for name in scene.object_names}
    for init_state in range(init_states):
        environment.reset(Start(init_state=init_state))
        for name in scene.object_names:
            places[name].append(scene.object_position(name)[:2])
            rotations[name].append(scene.object_rotation(name))
    away = {name: distances_cm(np.stack(found)) for name, found in places.items()}
    named = named_objects(environment)
    unsettled = {
        name: float(distances_cm(unsettled_places(environment, name, init_states)).max()) for name in away
    }
    return Movement(
        suite=suite,
        task=task,
        instruction=environment.task.instruction,
        init_states=init_states,
        named={name: float(away[name].max()) for name in named},
        spread_cm=max((float(np.sqrt(np.mean(away[name] ** 2))) for name in named), default=0.0),
        yaw_degrees=max((yaw_spread_degrees(np.stack(rotations[name])) for name in named), default=0.0),
        others_cm=max((float(away[name].max()) for name in away if name not in named), default=0.0),
        others_unsettled_cm=max((unsettled[name] for name in away if name not in named), default=0.0),
        settling_cm=max((abs(float(away[name].max()) - unsettled[name]) for name in named), default=0.0),
    )


def row(movement: Movement) -> str:
    """One line of the Markdown table."""
    named = ", ".join(f"{name} {distance:.2f}" for name, distance in movement.named.items())
    figures = (
        f"{max(movement.named.values()):.2f} | {movement.spread_cm:.2f} | {movement.yaw_degrees:.1f}"
        if movement.named
        else "- | - | -"
    )
    return (
        f"| {movement.suite} | {movement.task} | {movement.instruction} | {named or 'none movable'} | {figures} | "
        f"{movement.others_cm:.2f} | {movement.others_unsettled_cm:.2f} |"
    )


def main() -> None:
    """Measure all tasks and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--suite", nargs="+", default=list(SUITES))
    parser.add_argument("--init-states", type=int, default=50)
    parser.add_argument("--workers", type=int, default=0, help="processes; 0: one a core")
    parser.add_argument("--quick", action="store_true", help="two tasks a suite, five init states each")
    arguments = parser.parse_args()
    init_states = 5 if arguments.quick else arguments.init_states
    began = time.monotonic()
    jobs = [
        Call(measure, (suite, task.index, init_states))
        for suite in arguments.suite
        for task in libero_tasks(suite)[: 2 if arguments.quick else None]
    ]
    total = len(jobs)
    console = Console(stderr=True)
    movements = sorted(
        track(
            simulate(lambda: jobs.pop(0) if jobs else None, arguments.workers),
            total=total,
            description="tasks",
            console=console,
        )
    )
    print("| suite | task | instruction | named objects | greatest | spread | yaw | others | unsettled |")
    print("|---|---|---|---|---|---|---|---|---|")
    for movement in movements:
        print(row(movement))
    figures: dict[str, object] = {"init_states": max(movement.init_states for movement in movements)}
    for suite in arguments.suite:
        found = [movement for movement in movements if movement.suite == suite]
        named = [max(movement.named.values()) for movement in found if movement.named]
        targets = [movement.target_cm for movement in found if movement.target_cm is not None]
        figures[suite] = {
            "named_cm": [round(min(named), 3), round(max(named), 3)],
            "target_cm": [round(min(targets), 3), round(max(targets), 3)],
            "unmoved_targets": [
                movement.task
                for movement in found
                if movement.target_cm is not None and movement.target_cm < UNMOVED_CM
            ],
            "settling_cm": round(max(movement.settling_cm for movement in found), 3),
        }
    print(json.dumps({"seconds": round(time.monotonic() - began, 1), **figures}))


if __name__ == "__main__":
    main()
