# pyright: reportMissingImports=false, reportUntypedClassDecorator=false
"""LeRobot's SO-101 classes as they are, on motors that are not there."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from lerobot.cameras.camera import Camera
from lerobot.cameras.configs import CameraConfig
from lerobot.motors import MotorCalibration
from lerobot.robots.config import RobotConfig
from lerobot.robots.so_follower.config_so_follower import SOFollowerConfig
from lerobot.robots.so_follower.so_follower import SOFollower
from lerobot.teleoperators.config import TeleoperatorConfig
from lerobot.teleoperators.so_leader.config_so_leader import SOLeaderConfig
from lerobot.teleoperators.so_leader.so_leader import SOLeader

SPEED = 240.0
"""Degrees, or hundredths of the gripper's stroke, in a second."""
TICKS = {
    "shoulder_pan": (750, 3400),
    "shoulder_lift": (850, 3250),
    "elbow_flex": (850, 3100),
    "wrist_flex": (850, 3200),
    "wrist_roll": (0, 4095),
    "gripper": (2000, 3500),
}
"""As a calibration finds them."""


class SimulatedBus:
    """What LeRobot's classes ask of their bus of motors: each goes to where it is told at one speed."""

    def __init__(self, motors: Mapping[str, Any], clock: Callable[[], float] = time.monotonic):
        self.motors = motors
        self.is_connected = self.is_calibrated = False
        self._clock, self._moved_at = clock, clock()
        self._at = dict.fromkeys(motors, 0.0)
        self._goal = dict(self._at)

    def connect(self) -> None:
        self.is_connected = self.is_calibrated = True

    def disconnect(self, disable_torque: bool = True) -> None:
        self.is_connected = False

    def sync_read(self, name: str, num_retry: int = 0) -> dict[str, float]:
        now = self._clock()
        reach, self._moved_at = SPEED * (now - self._moved_at), now
        for motor, goal in self._goal.items():
            self._at[motor] += min(max(goal - self._at[motor], -reach), reach)
        return dict(self._at)

    def sync_write(self, name: str, values: Mapping[str, float]) -> None:
        self.sync_read(name)
        self._goal.update(values)

    def torque_disabled(self) -> Any:
        return nullcontext()

    def disable_torque(self) -> None: ...

    def configure_motors(self) -> None: ...

    def write(self, name: str, motor: str, value: int) -> None: ...


@CameraConfig.register_subclass("simulated")
@dataclass(kw_only=True)
class SimulatedCameraConfig(CameraConfig):
    """Pictures of a simulated arm."""

    fps: int | None = 30
    width: int | None = 64
    height: int | None = 48


class SimulatedCamera(Camera):
    """Stripes that move with the first joint and brighten as the gripper opens."""

    def __init__(self, config: SimulatedCameraConfig):
        super().__init__(config)
        self.bus: SimulatedBus | None = None
        self._is_connected = False

    @property
    def is_connected(self) -> bool:
        return self._is_connected

    @staticmethod
    def find_cameras() -> list[dict[str, Any]]:
        return []

    def connect(self, warmup: bool = True) -> None:
        self._is_connected = True

    def read(self) -> np.ndarray:
        assert self.bus is not None
        at = self.bus.sync_read("Present_Position")
        columns = np.arange(self.width) / 4 + at["shoulder_pan"] / 5
        row = (80 + at["gripper"] + 50 * np.sin(columns)).astype(np.uint8)
        return np.tile(row[None, :, None], (self.height, 1, 3))

    def async_read(self, timeout_ms: float = 0) -> np.ndarray:
        return self.read()

    def read_latest(self, max_age_ms: int = 0) -> np.ndarray:
        return self.read()

    def disconnect(self) -> None:
        self._is_connected = False


@RobotConfig.register_subclass("so101_simulated")
@dataclass(kw_only=True)
class SimulatedFollowerConfig(RobotConfig, SOFollowerConfig):
    """As the SO-101's, with two cameras."""

    port: str = "simulated"
    cameras: dict[str, CameraConfig] = field(
        default_factory=lambda: {"front": SimulatedCameraConfig(), "wrist": SimulatedCameraConfig()}
    )


class SimulatedFollower(SOFollower):
    """The arm that acts."""

    config_class = SimulatedFollowerConfig
    name = "so101_simulated"

    def __init__(self, config: SimulatedFollowerConfig):
        super().__init__(config)
        self.bus = SimulatedBus(self.bus.motors)
        self.calibration = {
            name: MotorCalibration(motor.id, 0, 0, *TICKS[name]) for name, motor in self.bus.motors.items()
        }
        for camera in self.cameras.values():
            camera.bus = self.bus


@TeleoperatorConfig.register_subclass("so101_leader_simulated")
@dataclass(kw_only=True)
class SimulatedLeaderConfig(TeleoperatorConfig, SOLeaderConfig):
    """As the SO-101 leader's."""

    port: str = "simulated"


class SimulatedLeader(SOLeader):
    """The arm that a person guides: it waves its first joint, and closes its gripper on the way back."""

    config_class = SimulatedLeaderConfig
    name = "so101_leader_simulated"

    def __init__(self, config: SimulatedLeaderConfig):
        super().__init__(config)
        self.bus = SimulatedBus(self.bus.motors)
        self._began = time.monotonic()

    def get_action(self) -> dict[str, float]:
        phase = 2 * math.pi * (time.monotonic() - self._began) / 4
        at = dict.fromkeys(self.bus.motors, 0.0)
        at |= {"shoulder_pan": 30 * math.sin(phase), "gripper": 100.0 * (math.cos(phase) > 0)}
        return {f"{motor}.pos": value for motor, value in at.items()}
