"""An arm, a leader and cameras that are not there, for LeRobot's own commands:

lerobot-record --robot.discover_packages_path=focusvla_so101.simulated --robot.type=so101_simulated ...
"""

from focusvla_so101.simulated.devices import (
    SimulatedCamera,
    SimulatedCameraConfig,
    SimulatedFollower,
    SimulatedFollowerConfig,
    SimulatedLeader,
    SimulatedLeaderConfig,
)

__all__ = [
    "SimulatedCamera",
    "SimulatedCameraConfig",
    "SimulatedFollower",
    "SimulatedFollowerConfig",
    "SimulatedLeader",
    "SimulatedLeaderConfig",
]
