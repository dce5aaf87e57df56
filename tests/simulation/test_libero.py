"""LIBERO as an environment, compared with the benchmark's own `env.step` and pictures."""

import os
import subprocess
import sys

import numpy as np
import pytest

from focusvla.errors import ConfigurationError
from focusvla.simulation.environment import suite_task
from focusvla.simulation.libero import CAMERAS, HOLD_ACTION, LiberoEnvironment, axis_angle
from focusvla.simulation.libero_tasks import bddl_file, libero_tasks, quietly
from focusvla.suites import REGIONS, Start

pytestmark = pytest.mark.simulator


@pytest.fixture(scope="module")
def environment():
    built = LiberoEnvironment(suite_task("libero_object", 2), image_size=64)
    yield built
    built.close()


@pytest.fixture(scope="module")
def benchmark():
    """The benchmark's own environment of the same task, pictures included."""
    task = suite_task("libero_object", 2)
    with quietly():
        from libero.libero.envs import OffScreenRenderEnv

        built = OffScreenRenderEnv(bddl_file_name=bddl_file(task), camera_heights=64, camera_widths=64)
        built.seed(0)
    yield built
    with quietly():
        built.close()


@pytest.fixture(scope="module")
def expert_actions(environment):
    """A whole successful episode from init state 1, contacts included."""
    from focusvla.demonstrations.experts import ScriptedExpert
    from focusvla_client import Observer, rollout

    class Recorder(Observer):
        def __init__(self):
            self.actions = []

        def on_action(self, environment, action):
            self.actions.append(action)

    recorder = Recorder()
    start = Start(init_state=1)
    result = rollout(
        environment,
        ScriptedExpert(environment),
        start,
        max_steps=280,
        actions_per_inference=1,
        observers=[recorder],
    )
    assert result.success
    return recorder.actions


@pytest.mark.long
def test_a_whole_episode_is_bit_equal_to_the_benchmarks_own_stepping(environment, benchmark, expert_actions):
    from robosuite.utils.transform_utils import quat2axisangle

    with quietly():
        benchmark.reset()
        observation = benchmark.set_init_state(environment._init_states[1])
    environment.reset(Start(init_state=1, settle_steps=0))
    contacts = 0
    for step, action in enumerate([HOLD_ACTION] * 10 + expert_actions):
        ours = environment.observe(list(CAMERAS) if step % 20 == 0 else [])
        for camera, image in ours.images.items():
            theirs = observation[f"{CAMERAS[camera]}_image"][::-1, ::-1]
            np.testing.assert_array_equal(image, theirs, err_msg=f"step {step}, {camera}")
        state = [
            observation["robot0_eef_pos"],
            quat2axisangle(observation["robot0_eef_quat"].copy()),
            observation["robot0_gripper_qpos"],
        ]
        np.testing.assert_array_equal(ours.state, np.concatenate(state).astype(np.float32))
        with quietly():
            # It draws in whichever context is current, and knows its own lists only.
            benchmark.env.sim._render_context_offscreen.gl_ctx.make_current()
            observation, _, done, _ = benchmark.step(np.asarray(action, np.float64).tolist())
        environment.apply(action)
        np.testing.assert_array_equal(
            environment.scene.data.qpos, benchmark.sim.data.qpos, err_msg=f"step {step}"
        )
        assert environment.success() == bool(done)
        contacts = max(contacts, environment.scene.data.ncon)
    assert done
    assert contacts > 20


def test_a_reused_environment_repeats_an_episode_to_the_last_bit(environment):
    def play():
        environment.reset(Start(init_state=0))
        for _ in range(5):
            environment.apply(np.array([0.5, -0.2, -0.5, 0.1, 0, 0.3, 1.0]))
        return environment.scene.data.qpos.copy()

    first = play()
    environment.reset(Start(init_state=3, displacement_meters=0.08, seed=5))
    environment.apply(np.array([1.0, 0, -1.0, 0, 0, 0, 1.0]))
    np.testing.assert_array_equal(play(), first)


def test_widened_starts_move_what_the_task_names_alone_within_their_reach_and_repeat(environment):
    scene = environment.scene
    assert scene.named_objects == ["salad_dressing_1", "basket_1"]

    def positions(start):
        environment.reset(start)
        return {name: scene.object_position(name) for name in scene.object_names}

    standard = positions(Start(init_state=4))
    moved = {name: [] for name in scene.named_objects}
    for seed in range(4):
        wide = Start(init_state=4, seed=seed, displacement_meters=0.08)
        found = positions(wide)
        for name in scene.object_names:
            offset = np.abs(found[name] - standard[name])[:2].max()
            assert offset < (0.09 if name in moved else 0.005), name
        again = positions(wide)
        for name, places in moved.items():
            places.append(found[name])
            np.testing.assert_array_equal(again[name], found[name])
    for name, places in moved.items():
        assert np.ptp(np.stack(places)[:, :2], axis=0).max() > 0.02, name


def test_a_start_without_displacement_names_the_objects_that_stand_nowhere(environment, monkeypatch):
    monkeypatch.setattr("focusvla.simulation.libero._PLACEMENTS", 1)
    monkeypatch.setattr("focusvla.simulation.libero._FALL_METERS", -np.inf)
    with pytest.raises(ConfigurationError, match=r"no places where .*basket_1.* stand\."):
        environment.reset(Start(init_state=None, settle_steps=0))


def test_replayed_images_are_those_that_were_observed(environment):
    environment.reset(Start(init_state=0))
    environment.apply(np.array([0.5, 0, -0.5, 0, 0, 0, -1.0]))
    seen, snapshot = environment.observe(list(CAMERAS)).images, environment.snapshot()
    environment.apply(np.array([-0.5, 0, -0.5, 0, 0, 0, -1.0]))
    drawn = environment.replay_images(snapshot)
    for camera in CAMERAS:
        np.testing.assert_array_equal(drawn[camera], seen[camera])


def test_a_policy_that_does_not_look_costs_no_drawing(environment):
    environment.reset(Start(init_state=0))
    environment.close()
    assert environment.observe([]).images == {}
    assert environment._renderer.closed


def test_simplified_meshes_look_nearly_the_same():
    task = suite_task("libero_object", 2)
    exact, simple = LiberoEnvironment(task, 64), LiberoEnvironment(task, 64, mesh_cell_meters=0.005)
    images = []
    for built in (exact, simple):
        built.reset(Start(init_state=0))
        images.append(built.observe(list(CAMERAS)).images)
    simple.close()
    for camera in CAMERAS:
        difference = np.abs(images[0][camera].astype(int) - images[1][camera])
        assert 0 < difference.mean() < 5  # of 255; edges weigh more in a small picture


def test_wrong_actions_tasks_and_states_are_named(environment):
    with pytest.raises(ConfigurationError, match="7 finite numbers"):
        environment.apply(np.zeros(6))
    with pytest.raises(ConfigurationError, match="7 finite numbers"):
        environment.apply(np.full(7, np.nan))
    with pytest.raises(ConfigurationError, match=r"task=12: expected 0\.\.9"):
        suite_task("libero_object", 12)
    with pytest.raises(ConfigurationError, match="did you mean 'libero_object'"):
        libero_tasks("libero_objects")
    with pytest.raises(ConfigurationError, match=r"init_state=50: expected 0\.\.49"):
        environment.reset(Start(init_state=50))
    with pytest.raises(ConfigurationError, match="camera='wrist' is unknown"):
        environment.observe(["wrist"])


def test_a_hand_that_points_down_does_not_jump_between_frames():
    angles = np.deg2rad([179.0, 180.0, 181.0])
    turned = [axis_angle(np.array([np.cos(a / 2), np.sin(a / 2), 0, 0])) for a in angles]
    np.testing.assert_allclose(np.stack(turned)[:, 0], angles, atol=1e-12)


def test_regions_are_where_the_object_its_target_and_the_gripper_are_seen(environment):
    """Painted green and then purple, they are where the two pictures differ, but for edges and reflections."""
    environment.reset(Start(init_state=1))
    snapshot = environment.snapshot()
    before = environment.replay_images(snapshot)
    regions = environment.replay_regions(snapshot)
    model, geometries = environment.scene.model, environment.scene.regions_of_geometries
    materials, colors = model.geom_matid.copy(), model.geom_rgba.copy()

    def paint(place: int, *color: float) -> dict[str, np.ndarray]:
        model.geom_matid[geometries == place], model.geom_rgba[geometries == place] = -1, color
        images = environment.replay_images(snapshot)
        model.geom_matid[:], model.geom_rgba[:] = materials, colors
        return images

    for place, region in enumerate(REGIONS):
        green, purple = paint(place, 0, 1, 0, 1), paint(place, 1, 0, 1, 1)
        for camera, found in regions.items():
            assert found.shape == (len(REGIONS), 64, 64)
            differs = np.abs(green[camera].astype(int) - purple[camera]).max(axis=2) > 20
            shared = (differs & found[place]).sum()
            assert shared > 0.9 * found[place].sum() > 0, (region, camera)
            assert shared > 0.8 * differs.sum(), (region, camera)
    for camera, image in environment.replay_images(snapshot).items():
        np.testing.assert_array_equal(image, before[camera])


def test_of_a_goal_with_fixtures_the_whole_fixture_is_meant():
    environment = LiberoEnvironment(suite_task("libero_goal", 0), image_size=64)
    scene = environment.scene
    assert scene.goal == [["open", "wooden_cabinet_1_middle_region"]]
    bodies = [scene.model.body(body).name for body in scene.model.geom_bodyid]
    marked = {
        region: {
            name for name, found in zip(bodies, scene.regions_of_geometries, strict=True) if found == place
        }
        for place, region in enumerate(REGIONS)
    }
    environment.close()
    assert all(name.startswith("wooden_cabinet_1_") for name in marked["object"])
    assert {"wooden_cabinet_1_cabinet_middle", "wooden_cabinet_1_cabinet_top"} < marked["object"]
    assert marked["target"] == set()
    assert {"gripper0_leftfinger", "gripper0_rightfinger"} < marked["gripper"]
    assert not any(name.startswith("robot0_") for name in marked["gripper"])


def test_the_files_of_another_libero_do_not_decide_what_is_played(tmp_path):
    (tmp_path / "config.yaml").write_text(
        f"bddl_files: {tmp_path}\ninit_states: {tmp_path}\nassets: {tmp_path}\n"
    )
    code = (
        "from focusvla.simulation.libero import bddl_file, libero_tasks\n"
        "print(bddl_file(libero_tasks('libero_object')[2]))"
    )
    environment = {**os.environ, "LIBERO_CONFIG_PATH": str(tmp_path)}
    said = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert said.stdout.strip() == bddl_file(suite_task("libero_object", 2)), said.stderr
