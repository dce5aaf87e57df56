"""A policy moves the simulated robot: nothing in a dry run, within limits otherwise."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from chunk_server import chunk_server
from focusvla.data.formats.opening import open_source
from focusvla.presets import fitted, tiny
from focusvla.training.trainer import train
from focusvla_client.websocket import WebsocketPolicy
from focusvla_realman.__main__ import main
from focusvla_realman.errors import RealmanError, SetupError
from focusvla_realman.robot import DualArmRobot
from focusvla_realman.run import run
from focusvla_realman.simulation import simulated_robot
from focusvla_realman.spec import realman_spec

FAR = np.full((16, 16), 100.0)
"""A chunk that asks every joint to go far beyond its limits."""


def _commands(robot: DualArmRobot) -> int:
    return sum(limb.arm.num_commands for limb in robot.limbs)  # pyright: ignore[reportAttributeAccessIssue]


def _policy(port: int) -> WebsocketPolicy:
    return WebsocketPolicy(port=port, spec=realman_spec())


@pytest.mark.slow
def test_a_dry_run_sends_nothing():
    robot = simulated_robot("stack the cups")
    with chunk_server(realman_spec(), 16, lambda request: FAR) as port, _policy(port) as policy:
        result = run(robot, policy, moves=False, seconds=3, speed_share=0.25)
    assert result.steps + result.held_steps + result.missed_steps == 60
    assert result.steps > 0
    assert _commands(robot) == 0


@pytest.mark.slow
def test_the_robot_moves_no_faster_than_its_share_of_the_speed_and_notes_what_it_was_told(tmp_path: Path):
    robot = simulated_robot("stack the cups")
    with chunk_server(realman_spec(), 16, lambda request: FAR) as port, _policy(port) as policy:
        result = run(robot, policy, moves=True, seconds=3, speed_share=0.25, log=tmp_path / "log")
        with pytest.raises(SetupError, match="holds a log already"):
            run(robot, policy, moves=True, seconds=3, speed_share=0.25, log=tmp_path / "log")
    assert result.limited_steps == result.steps > 0
    assert _commands(robot) > 0
    events = [json.loads(line) for line in (tmp_path / "log/log.jsonl").read_text().splitlines()]
    told = np.array([event["command"] for event in events if event["event"] == "command"])
    assert len(told) == result.steps
    np.testing.assert_allclose(told[0, :2], np.radians(0.25 * 180 / 20), rtol=1e-4)
    np.testing.assert_allclose(told[0, 2:7], np.radians(0.25 * 225 / 20), rtol=1e-4)
    assert told[:, 7].tolist() == [1.0] * len(told)
    reached = robot.positions()
    assert (reached[:7] <= told[-1, :7] + 1e-6).all()


def test_a_share_of_the_speed_that_makes_no_sense_is_refused_before_anything_moves():
    robot = simulated_robot("stack the cups")
    with (
        chunk_server(realman_spec(), 16, lambda request: FAR) as port,
        _policy(port) as policy,
        pytest.raises(SetupError, match="speed_share=0:"),
    ):
        run(robot, policy, moves=True, seconds=1, speed_share=0)
    assert _commands(robot) == 0


def test_without_answers_the_robot_is_stopped_and_it_is_said(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("focusvla_realman.run.WATCHDOG_SECONDS", 0.3)
    robot = simulated_robot("stack the cups")
    with (
        chunk_server(realman_spec(), 16, lambda request: FAR * np.nan) as port,
        _policy(port) as policy,
        pytest.raises(RealmanError, match=r"No action came for 0\.3 s, and the robot was stopped"),
    ):
        run(robot, policy, moves=True, seconds=5, speed_share=0.25)
    assert _commands(robot) == 0


@contextmanager
def _served(checkpoint: Path) -> Iterator[int]:
    """`focusvla serve` in a process of its own; yields its port."""
    command = [sys.executable, "-m", "focusvla", "serve", str(checkpoint), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            found = re.search(r"ws://127\.0\.0\.1:(\d+)", process.stdout.readline())
            assert found, process.communicate()
            yield int(found[1])
        finally:
            process.terminate()


@pytest.mark.slow
def test_the_whole_way_from_demonstrations_to_a_policy_that_moves_the_robot(tmp_path: Path):
    task = ["--simulated", "--instruction", "stack the cups"]
    main(["record", *task, "--output", str(tmp_path / "cups"), "--episodes", "2"])
    source = open_source(tmp_path / "cups")
    experiment = fitted(tiny(), source.spec, chunk_length=16)
    training = replace(experiment.training, steps=2, validate_every=2, checkpoint_every=2)
    train(replace(experiment, training=training), source, tmp_path / "run", cache_folder=tmp_path / "cache")
    robot = simulated_robot("stack the cups")
    with _served(tmp_path / "run") as port, _policy(port) as policy:
        dry = run(robot, policy, moves=False, seconds=3, speed_share=0.25)
        assert _commands(robot) == 0
        moved = run(robot, policy, moves=True, seconds=3, speed_share=0.25)
        assert policy.chunk_length == 16
    for result in (dry, moved):
        assert result.ended_by == "max_steps"
        assert result.steps + result.held_steps + result.missed_steps == 60
        assert result.steps > 0
    assert _commands(robot) > 0
