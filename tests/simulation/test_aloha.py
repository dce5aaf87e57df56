"""ALOHA as an environment, compared with gym-aloha's own `env.step` and pictures."""

import logging
import sys
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gym_aloha", reason="needs the extra `aloha`")

from focusvla.errors import ConfigurationError, MissingDependencyError
from focusvla.simulation.aloha import CAMERAS, AlohaEnvironment
from focusvla.simulation.environment import suite_task
from focusvla.suites import Start
from focusvla.suites.aloha import aloha_spec

pytestmark = pytest.mark.simulator

HOME = np.array([0.0, -0.96, 1.16, 0.0, -0.3, 0.0, 0.1] * 2, np.float32)


@pytest.fixture(scope="module")
def environment():
    built = AlohaEnvironment(suite_task("aloha", 0), image_size=64)
    yield built
    built.close()


def expert_actions(environment, seed):
    """A whole successful episode, contacts included."""
    from focusvla.demonstrations.aloha_experts import AlohaExpert
    from focusvla_client import Observer, rollout

    class Recorder(Observer):
        actions = []  # noqa: RUF012 - one recorder is made

        def on_action(self, environment, action):
            self.actions.append(action)

    result = rollout(
        environment,
        AlohaExpert(environment),
        Start(init_state=None, seed=seed),
        max_steps=350,
        actions_per_inference=1,
        stop_on_success=False,
        observers=[Recorder()],
    )
    assert result.success
    return Recorder.actions


@pytest.mark.parametrize(("task", "name"), [(0, "AlohaTransferCube-v0"), (1, "AlohaInsertion-v0")])
def test_a_whole_episode_is_bit_equal_to_the_benchmarks_own_stepping_and_pictures(task, name):
    import gymnasium

    environment = AlohaEnvironment(suite_task("aloha", task), image_size=64)
    actions = expert_actions(environment, seed=3)
    benchmark = gymnasium.make(f"gym_aloha/{name}", obs_type="pixels_agent_pos", disable_env_checker=True)
    unwrapped: Any = benchmark.unwrapped
    physics = unwrapped._env.physics
    draw, physics.render = physics.render, lambda **_: np.zeros((1, 1, 3), np.uint8)  # 0.4 s a step otherwise
    observation, _ = benchmark.reset(seed=3)
    environment.reset(Start(init_state=None, seed=3))
    pictures, successes = [], []
    for step, action in enumerate(actions):
        np.testing.assert_array_equal(environment.data.qpos, physics.data.qpos, err_msg=f"step {step}")
        state = observation["agent_pos"].astype(np.float32)
        np.testing.assert_array_equal(environment.observe([]).state, state)
        if step % 60 == 50:
            theirs = {camera: draw(height=64, width=64, camera_id=camera) for camera in CAMERAS}
            pictures.append((environment.snapshot(), theirs))
        observation, _, done, _, info = benchmark.step(action)
        environment.apply(action)
        assert environment.success() == info["is_success"] == done
        successes.append(done)
    assert successes[-1]
    assert not successes[len(successes) // 2]
    physics.free()  # two drawing contexts at a time would not do
    for snapshot, theirs in pictures:
        ours = environment.replay_images(snapshot)
        for camera in CAMERAS:
            np.testing.assert_array_equal(ours[camera], theirs[camera], err_msg=camera)
    environment.close()


def test_a_reused_environment_repeats_an_episode_to_the_last_bit(environment):
    def play(seed):
        environment.reset(Start(init_state=None, seed=seed))
        for _ in range(20):
            environment.apply(HOME + np.float32(0.05))
        return environment.snapshot()

    first, other = play(0), play(1)
    np.testing.assert_array_equal(play(0), first)
    assert np.abs(first - other)[-7:-5].max() > 0.01  # the cube lies elsewhere


def test_states_and_actions_are_joint_angles_and_openings_from_0_to_1(environment):
    assert environment.spec == aloha_spec(64)
    assert environment.spec.state == environment.spec.action
    assert environment.spec.action[5:8] == ("left_wrist_rotate", "left_gripper", "right_waist")
    environment.reset(Start(init_state=None, seed=0))
    target = HOME.copy()
    target[[0, 6, 13]] = 0.3, 1.0, 0.0
    for _ in range(80):
        environment.apply(target)
    state = environment.observe([]).state
    assert state[0] == pytest.approx(0.3, abs=0.01)
    assert state[6] > 0.95
    assert state[13] < 0.12  # the fingers touch


def test_replayed_images_are_those_that_were_observed(environment):
    environment.reset(Start(init_state=None, seed=0))
    environment.apply(HOME)
    seen, snapshot = environment.observe(CAMERAS).images, environment.snapshot()
    for _ in range(10):
        environment.apply(HOME + np.float32(0.1))
    drawn = environment.replay_images(snapshot)
    assert {image.shape for image in drawn.values()} == {(64, 64, 3)}
    for camera in CAMERAS:
        np.testing.assert_array_equal(drawn[camera], seen[camera])
        assert (environment.observe([camera]).images[camera] != seen[camera]).any()


def test_a_policy_that_does_not_look_costs_no_drawing(environment):
    environment.reset(Start(init_state=None, seed=0))
    environment.observe(["top"])
    environment.close()
    assert environment.observe([]).images == {}
    assert environment._renderer.closed


def test_simplified_meshes_look_nearly_the_same():
    images = []
    for cell in (0.0, 0.004):
        built = AlohaEnvironment(suite_task("aloha", 1), 128, mesh_cell_meters=cell)
        built.reset(Start(init_state=None, seed=0))
        images.append(built.observe(CAMERAS).images)
        built.close()
    for camera in CAMERAS:
        difference = np.abs(images[0][camera].astype(int) - images[1][camera])
        assert 0 < difference.mean() < 2  # of 255; hands are near


def test_commands_that_make_the_simulation_diverge_lose_the_episode_and_nothing_else(environment, caplog):
    environment.reset(Start(init_state=None, seed=0))
    rng = np.random.default_rng(0)
    with caplog.at_level(logging.DEBUG):
        for _ in range(300):
            environment.apply(rng.uniform(-3, 3, 14))
    assert environment._diverged
    assert not environment.success()
    assert np.isfinite(environment.observe(["top"]).state).all()
    assert not caplog.records
    environment.reset(Start(init_state=None, seed=0))
    before = environment.snapshot()
    environment.apply(HOME)
    assert (environment.snapshot() != before).any()


def test_wrong_actions_tasks_and_starts_are_named(environment):
    for wrong in (np.zeros(7), np.full(14, np.nan)):
        with pytest.raises(ConfigurationError, match="14 finite numbers"):
            environment.apply(wrong)
    with pytest.raises(ConfigurationError, match=r"task=2: expected 0\.\.1 for suite 'aloha'"):
        suite_task("aloha", 2)
    for start in (
        Start(init_state=0),
        Start(init_state=None, displacement_meters=0.08),
        Start(init_state=None, arm_displacement_meters=0.08),
    ):
        with pytest.raises(ConfigurationError, match="whose starts are drawn from their seed"):
            environment.reset(start)
    with pytest.raises(ConfigurationError, match="camera='wrist' is unknown; did you mean 'left_wrist'"):
        environment.observe(["wrist"])


def test_a_missing_simulator_is_named_with_the_extra_that_brings_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "gym_aloha.env", None)
    assert [task.name for task in AlohaEnvironment.tasks("aloha")] == [
        "transfer_cube",
        "insertion",
    ]  # listing needs no simulator
    with pytest.raises(MissingDependencyError, match=r"pip install 'focusvla\[aloha\]'"):
        AlohaEnvironment(suite_task("aloha", 0))
