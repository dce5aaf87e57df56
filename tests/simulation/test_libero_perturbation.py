"""What LIBERO-Plus changes: camera and arm against the benchmark's own environment, noise against its definition."""

import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from focusvla.errors import ConfigurationError
from focusvla.simulation.libero_perturbation import aim_camera, make_noise
from focusvla.simulation.stepping_kernels import take_neighbors
from focusvla.suites import Perturbation, Start
from plus_folder import ARM

POSITION = np.array([0.65861, 0.0, 1.61035])
QUATERNION = Rotation.from_quat([0.638, 0.305, 0.305, 0.638], scalar_first=True).as_quat(scalar_first=True)


@pytest.fixture(scope="module")
def picture():
    """Smooth, with an edge."""
    rows, columns = np.mgrid[:256, :256]
    pixels = np.stack([rows, columns, (rows + 2 * columns) % 256], axis=-1).astype(np.uint8)
    pixels[100:140, 60:200] = (250, 10, 120)
    return pixels


def looks_at(position, quaternion, height=0.8):
    """Where the camera's axis meets the table."""
    ahead = Rotation.from_quat(quaternion, scalar_first=True).apply([0, 0, -1])
    return position + ahead * (height - position[2]) / ahead[2]


def test_a_camera_that_goes_around_looks_at_what_it_looked_at_turned():
    position, quaternion = aim_camera(POSITION, QUATERNION, (30, 0, 100, 0, 0))
    turn = Rotation.from_euler("z", 30, degrees=True)
    np.testing.assert_allclose(position, turn.apply(POSITION), atol=1e-4)
    np.testing.assert_allclose(
        looks_at(position, quaternion), turn.apply(looks_at(POSITION, QUATERNION)), atol=1e-3
    )


def test_a_camera_that_rises_keeps_its_distance_and_one_that_goes_away_its_direction():
    pivot = np.array([0, 0, 0.8])
    position, _ = aim_camera(POSITION, QUATERNION, (0, 15, 100, 0, 0))
    assert position[2] > POSITION[2]
    assert math.isclose(np.linalg.norm(position - pivot), np.linalg.norm(POSITION - pivot), abs_tol=1e-3)
    away, quaternion = aim_camera(POSITION, QUATERNION, (0, 0, 150, 0, 0))
    np.testing.assert_allclose(away - pivot, 1.5 * (POSITION - pivot), atol=2e-4)
    np.testing.assert_allclose(quaternion, QUATERNION, atol=1e-4)


def test_a_camera_turned_on_the_spot_stays_there():
    position, quaternion = aim_camera(POSITION, QUATERNION, (0, 0, 100, 6, 354))
    np.testing.assert_allclose(position, POSITION, atol=1e-4)
    angle = (
        Rotation.from_quat(quaternion, scalar_first=True)
        * Rotation.from_quat(QUATERNION, scalar_first=True).inv()
    )
    assert 8 < math.degrees(angle.magnitude()) < 9  # 6 about the vertical, 6 about y


def test_poses_are_rounded_to_four_digits_as_published_ones_are():
    position, _ = aim_camera(np.array([0.658649, 0.0, 1.610351]), QUATERNION, (0, 0, 100, 0, 0))
    np.testing.assert_array_equal(position, [0.6586, 0.0, 1.6104])
    away, _ = aim_camera(np.array([0.6586, 0.0, 1.6104]), QUATERNION, (0, 0, 175, 0, 0))
    assert away[0] == round(1.75 * 0.6586, 4)  # half a digit, which numpy rounds otherwise


@pytest.mark.parametrize("kind", [1, 10, 11, 20, 21, 30, 31, 40, 41, 50])
def test_noise_changes_pictures_and_is_the_same_for_the_same_seed(picture, kind):
    kept = picture.copy()
    first, again, other = (make_noise(kind, seed) for seed in (3, 3, 4))
    noisy = first(picture)
    assert (noisy.dtype, noisy.shape) == (np.uint8, picture.shape)
    assert not np.array_equal(noisy, picture)
    np.testing.assert_array_equal(noisy, again(picture))
    np.testing.assert_array_equal(picture, kept)
    is_drawn = kind <= 10 or kind > 30
    assert is_drawn != np.array_equal(noisy, other(picture))
    assert is_drawn != np.array_equal(first(picture), noisy)


def test_noise_grows_with_its_severity(picture):
    for first in (11, 21, 31):  # what blurs along a line, or shuffles, does so by an angle or more than once
        changes = [np.abs(make_noise(first + n, 0)(picture).astype(int) - picture).mean() for n in (0, 4, 9)]
        assert changes == sorted(changes), first


def test_motion_blur_is_a_weighted_mean_along_a_line(picture):
    noisy = make_noise(3, 5)(picture)
    angle = math.radians(np.random.default_rng((5, 3)).uniform(-45, 45))
    places = np.arange(21)
    weights = np.exp(-(places**2) / (2 * 4**2))
    for row, column in ((128, 128), (110, 70), (0, 255), (255, 0)):
        behind = [
            picture[
                min(max(row + math.ceil(n * math.sin(angle) - 0.5), 0), 255),
                min(max(column + math.ceil(n * math.cos(angle) - 0.5), 0), 255),
            ]
            for n in places
        ]
        mean = np.average(behind, axis=0, weights=weights)
        assert np.abs(noisy[row, column] - (mean - 0.5)).max() <= 0.51  # written with its fraction cut off


def test_behind_glass_pixels_take_their_neighbors_in_turn():
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (12, 12, 3), np.uint8)
    shifts = rng.integers(-2, 2, (6, 6, 2))
    expected = pixels.copy()
    for i, row in enumerate(range(8, 2, -1)):
        for j, column in enumerate(range(8, 2, -1)):
            expected[row, column] = expected[row + shifts[i, j, 1], column + shifts[i, j, 0]]
    take_neighbors(pixels, shifts, 2)
    np.testing.assert_array_equal(pixels, expected)


def test_fog_is_the_same_at_opposite_edges_and_makes_no_picture_brighter_than_it_was(picture):
    from focusvla.simulation.libero_perturbation import _plasma

    clouds = _plasma(64, 2.0, np.random.default_rng(0))
    assert (clouds.min(), clouds.max()) == (0, 1)
    inside = np.abs(np.diff(clouds, axis=0)).max()
    assert np.abs(clouds[0] - clouds[-1]).max() < 2 * inside
    assert make_noise(40, 0)(picture).max() <= picture.max()


def test_noise_of_no_kind_and_pictures_of_another_size_are_refused(picture):
    assert make_noise(0, 0)(picture) is picture
    with pytest.raises(ConfigurationError, match="picture_noise=51: expected 0 to 50"):
        make_noise(51, 0)
    with pytest.raises(ConfigurationError, match="pictures of 256 pixels a side"):
        make_noise(1, 0)(picture[:128, :128])


@pytest.mark.simulator
def test_an_episode_is_bit_equal_to_the_benchmarks_own_with_that_arm_and_camera():
    """LIBERO-Plus's classes of robots and scenes do no more than what is done to the benchmark's here."""
    pytest.importorskip("libero", reason="needs the extra `libero`")
    from focusvla.simulation.environment import suite_task
    from focusvla.simulation.libero import CAMERAS, HOLD_ACTION, LiberoEnvironment
    from focusvla.simulation.libero_tasks import bddl_file, benchmark_of, quietly

    task = suite_task("libero_goal", 7)
    changed = Perturbation(name="changed", camera=(318, 15, 100, 0, 0), arm_joints=ARM)
    plain = Start(init_state=0, scenes_before=1)
    ours = LiberoEnvironment(task, image_size=64)
    ours.reset(plain)
    before = ours.observe([*CAMERAS])
    ours.close()

    with quietly():
        import libero.libero.envs.robots as robots
        from libero.libero.envs import OffScreenRenderEnv
        from libero.libero.envs.bddl_base_domain import TASK_MAPPING
        from robosuite.robots import ROBOT_CLASS_MAPPING

        type("MountedPandaChanged", (robots.MountedPanda,), {"init_qpos": np.array(ARM)})
        ROBOT_CLASS_MAPPING["MountedPandaChanged"] = ROBOT_CLASS_MAPPING["MountedPanda"]
        problem = TASK_MAPPING["libero_tabletop_manipulation"]
        usual = problem._setup_camera

        def set_up(self, arena):
            usual(self, arena)
            places = arena.worldbody.find("./camera[@name='agentview']")
            position, quaternion = (np.fromstring(places.get(key), sep=" ") for key in ("pos", "quat"))
            arena.set_camera("agentview", *aim_camera(position, quaternion, changed.camera))

        actions = [*[HOLD_ACTION] * 10, *np.random.default_rng(0).uniform(-1, 1, (4, 7))]
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(problem, "_setup_camera", set_up)
            theirs = OffScreenRenderEnv(
                bddl_file_name=bddl_file(task), robots=["PandaChanged"], camera_heights=64, camera_widths=64
            )
            theirs.seed(0)
            theirs.reset()
            theirs.set_init_state(benchmark_of("libero_goal").get_task_init_states(7)[0])
            seen = [theirs.step(action.tolist())[0] for action in actions]
            theirs.close()

    ours.reset(dataclasses.replace(plain, perturbation=changed))
    for expected, action in zip(seen[9:], [*actions[10:], None], strict=True):
        observed = ours.observe([*CAMERAS])
        np.testing.assert_array_equal(ours.arm().quaternion, expected["robot0_eef_quat"])
        np.testing.assert_array_equal(observed.state[:3], expected["robot0_eef_pos"].astype(np.float32))
        for camera, name in CAMERAS.items():
            np.testing.assert_array_equal(observed.images[camera], expected[f"{name}_image"][::-1, ::-1])
        if action is not None:
            ours.apply(action)
    assert np.abs(ours.arm().quaternion[1:]).max() > 0.05  # the hand turned while the scene settled

    ours.reset(plain)  # nothing of it stays
    after = ours.observe([*CAMERAS])
    np.testing.assert_array_equal(after.state, before.state)
    for camera in CAMERAS:
        np.testing.assert_array_equal(after.images[camera], before.images[camera])
    ours.close()


@pytest.mark.simulator
def test_another_arena_and_other_places_are_built_and_left_again(tmp_path):
    """A scene of LIBERO-Plus's own is a file beside its textures; here it is the task's, its light put out."""
    pytest.importorskip("libero", reason="needs the extra `libero`")
    from focusvla.simulation.environment import suite_task
    from focusvla.simulation.libero import LiberoEnvironment
    from focusvla.simulation.libero_tasks import bddl_file, benchmark_of

    task, plain = suite_task("libero_goal", 7), Start(init_state=0)
    environment = LiberoEnvironment(task, image_size=64)
    environment.reset(plain)
    usual = environment.observe(["image"]).images["image"]

    from libero.libero import get_libero_path

    scenes = tmp_path / "assets/scenes/lights"
    scenes.mkdir(parents=True)
    (tmp_path / "assets/scenes/textures").symlink_to(Path(get_libero_path("assets")) / "textures")
    arena = Path(get_libero_path("assets"), "scenes/libero_tabletop_base_style.xml").read_text("utf-8")
    dark = re.sub(r'diffuse="[^"]*"', 'diffuse="0.05 0.05 0.05"', arena)
    assert dark != arena
    (scenes / "dim.xml").write_text(dark, "utf-8")
    other = Path(bddl_file(task)).read_text("utf-8")
    (tmp_path / "moved.bddl").write_text(other, "utf-8")
    state = benchmark_of("libero_goal").get_task_init_states(7)[3]

    def seen(changed: Perturbation) -> np.ndarray:
        environment.reset(dataclasses.replace(plain, perturbation=changed))
        return environment.observe(["image"]).images["image"]

    dim = seen(Perturbation(name="dim", arena_file=str(scenes / "dim.xml")))
    assert dim.mean() < 0.8 * usual.mean()
    moved = seen(
        Perturbation(name="moved", scene_file=str(tmp_path / "moved.bddl"), simulator_state=tuple(state))
    )
    assert not np.array_equal(moved, usual)
    environment.reset(plain)
    np.testing.assert_array_equal(environment.observe(["image"]).images["image"], usual)
    environment.reset(dataclasses.replace(plain, init_state=3))
    elsewhere = environment.observe(["image"]).images["image"].astype(int)
    assert np.abs(moved - elsewhere).mean() < 1  # but for the camera's rounded pose
    environment.close()
