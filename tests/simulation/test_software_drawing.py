"""Where a processor rasterizes, pictures from a fraction of the triangles: MuJoCo's to the last bit."""

import subprocess
import sys
import zlib

import numpy as np
import pytest

SIZE = 64

ROUND = "".join(
    f"{np.cos(a):.4f} {np.sin(a):.4f} {z} " for z in (-1, 1) for a in np.linspace(0, 2 * np.pi, 40)
)


def scene(*, extra: str = "", light: str = "castshadow='false'", box: str = "reflectance='.6'") -> str:
    """A floor, a mirror, a mesh with texture coordinates, one without, a ball and a skybox."""
    return f"""
    <mujoco><asset>
      <texture name="sky" type="skybox" builtin="gradient" rgb1="1 0 0" rgb2="0 0 1" width="32" height="32"/>
      <texture name="checks" type="2d" builtin="checker" rgb1=".1 .9 .2" rgb2=".9 .1 .8" width="64" height="64"/>
      <texture name="cube" type="cube" builtin="flat" mark="cross" rgb1=".7 .5 .2" markrgb="0 0 0" width="32"
        height="32"/>
      <material name="checks" texture="checks" texrepeat="3 2" specular=".4" shininess=".3"/>
      <material name="even" texture="checks" texuniform="true"/>
      <material name="cube" texture="cube" emission=".2"/>
      <material name="mirror" rgba=".3 .4 .5 1" {box}/>
      <mesh name="round" scale=".1 .1 .1" vertex="{ROUND}"/>
      <mesh name="sheet" vertex="0 0 0 .3 0 0 .3 .3 .05 0 .3 0 .15 .15 .3" texcoord="0 0 1 0 1 1 0 1 .5 .5"
        face="0 1 4 1 2 4 2 3 4 3 0 4 0 2 1 0 3 2"/>
    </asset><worldbody>
      <light pos="0 0 2" dir="0 0 -1" {light}/><light pos="1 1 2" dir="-1 -1 -2" directional="true" castshadow="false"/>
      <geom type="plane" size="2 2 .1" material="even"/>
      <geom type="box" size=".3 .3 .05" pos="0 0 .05" material="mirror"/>
      <geom type="ellipsoid" size=".1 .08 .05" pos="-.3 .1 .2" material="cube"/>
      <geom type="cylinder" size=".03 .1" pos=".3 -.2 .1" rgba=".2 .8 .9 1"/>
      <body name="round" pos=".1 .1 .3"><freejoint/><geom type="mesh" mesh="round" material="checks"/></body>
      <body name="sheet" pos="-.2 -.2 .2"><freejoint/><geom type="mesh" mesh="sheet" material="checks"/></body>
      <camera name="front" pos="0 -1 .7" xyaxes="1 0 0 0 .5 .8" fovy="50"/>
      <camera name="close" pos=".1 0 .5" xyaxes="1 0 0 0 1 .1" fovy="80"/>
      {extra}
    </worldbody></mujoco>"""


class Pictures:
    """Both ways of drawing one scene, in the states that it is put in."""

    def __init__(self, xml: str):
        from focusvla.simulation.rendering import MUJOCO_GROUPS, Renderer, load_mujoco

        self.mujoco = load_mujoco()
        self.model = self.mujoco.MjModel.from_xml_string(xml)
        self.data = self.mujoco.MjData(self.model)
        self.renderer = Renderer(self.model, SIZE, SIZE, groups=MUJOCO_GROUPS)
        if self.renderer._software is None:
            pytest.skip("a graphics card draws here")

    def both(self, camera: str) -> tuple[np.ndarray | None, np.ndarray]:
        """Ours, None where it declines, and MuJoCo's."""
        self.mujoco.mj_forward(self.model, self.data)
        self.renderer._aim(self.data, camera)
        software = self.renderer._software
        assert software is not None
        ours = self.renderer._pixels() if software.draw() else None
        return ours, self.renderer._render_as_mujoco()


def test_pictures_are_those_of_mujoco_wherever_things_are():
    pictures, rng = Pictures(scene()), np.random.default_rng(0)
    for _ in range(40):
        for first in (0, 7):
            pictures.data.qpos[first : first + 3] += rng.uniform(-0.1, 0.1, 3)
            pictures.data.qpos[first + 3 : first + 7] = rng.normal(size=4)
        for camera in ("front", "close"):
            ours, theirs = pictures.both(camera)
            assert ours is not None
            np.testing.assert_array_equal(ours, theirs)
            assert len(np.unique(theirs.reshape(-1, 3), axis=0)) > 100
    pictures.renderer.close()


def slivers(count: int) -> str:
    """Triangles up to a meter long and as thin as can be, which rounding may turn around, and a few that are far away."""
    rng = np.random.default_rng(0)
    a, b = rng.uniform(-0.6, 0.6, (2, count, 3))
    c = a + rng.uniform(0, 1, (count, 1)) * (b - a) + rng.normal(scale=1e-4, size=(count, 3))
    for corner in (a, b, c):
        corner[::300] += 5, 0, 0  # out of the picture, in every batch of 341
    vertices = np.stack([a, b, c], 1).reshape(-1, 3)
    texture = rng.uniform(0, 1, (3 * count, 2))
    return f"""<mujoco><asset>
      <texture name="checks" type="2d" builtin="checker" rgb1=".1 .9 .2" rgb2=".9 .1 .8" width="64" height="64"/>
      <material name="checks" texture="checks"/>
      <mesh name="slivers" inertia="shell" vertex="{" ".join(map(str, vertices.round(6).ravel()))}"
        texcoord="{" ".join(map(str, texture.ravel()))}" face="{" ".join(map(str, range(3 * count)))}"/>
    </asset><worldbody><light pos="0 -2 2" dir="0 1 -1" castshadow="false"/>
      <body><freejoint/><geom type="mesh" mesh="slivers" material="checks" mass="1"/></body>
      <geom type="box" size=".2 .2 .2" pos="0 .3 0"/>
      <camera name="around" pos="0 -2 0" xyaxes="1 0 0 0 0 1" fovy="50"/>
      <camera name="close" pos="0 -.7 0" xyaxes="1 0 0 0 0 1" fovy="60"/>
    </worldbody></mujoco>"""


@pytest.mark.parametrize("camera", ["around", "close"])
def test_triangles_that_rounding_makes_or_turns_are_drawn_where_mujoco_draws_them(camera):
    """Also where a mesh reaches out of the picture: then llvmpipe sorts a batch's triangles out in another way."""
    pictures, rng = Pictures(slivers(2000)), np.random.default_rng(1)
    for _ in range(30):
        pictures.data.qpos[3:7] = rng.normal(size=4)
        ours, theirs = pictures.both(camera)
        assert ours is not None
        np.testing.assert_array_equal(ours, theirs)
    pictures.renderer.close()


@pytest.mark.parametrize(
    "xml",
    [
        scene(light="castshadow='true'"),
        scene(extra="<geom type='capsule' size='.05 .1'/>"),
        scene(
            extra="<geom type='sphere' size='.1' rgba='1 0 0 .5'/><geom type='sphere' size='.2' rgba='0 1 0 .5'/>"
        ),
        scene(extra="<geom type='plane' size='0 0 1' pos='0 0 -1'/>"),
        scene(extra="<geom type='plane' size='.1 .1 .1' pos='0 0 .3' euler='180 0 0'/>"),
    ],
    ids=["shadows", "a capsule", "two that show through", "an endless plane", "a plane from behind"],
)
def test_what_only_mujoco_draws_is_left_to_it(xml):
    pictures = Pictures(xml)
    ours, theirs = pictures.both("front")
    assert ours is None
    np.testing.assert_array_equal(pictures.renderer.draw(pictures.data, "front"), theirs)
    pictures.renderer.close()


@pytest.mark.parametrize(
    "xml",
    [
        scene(extra="<geom type='sphere' size='.1' pos='0 0 .3' rgba='1 0 0 .5'/>"),
        scene(extra="<site type='box' size='.1 .1 .1' pos='0 0 .3' rgba='1 0 0 0'/>"),
        scene(extra="<geom type='mesh' mesh='round' pos='0 0 .3' rgba='1 1 1 .4'/>"),
        scene(extra="<geom type='mesh' mesh='sheet' pos='0 -1.05 .6' rgba='1 1 1 1'/>"),
        scene(box="reflectance='0'"),
    ],
    ids=["one shows through", "an unseen site", "a mesh shows through", "around the camera", "no mirror"],
)
def test_these_too_are_the_same(xml):
    pictures = Pictures(xml)
    for camera in ("front", "close"):
        ours, theirs = pictures.both(camera)
        np.testing.assert_array_equal(ours, theirs)
    pictures.renderer.close()


def test_an_unknown_version_of_mujoco_is_compared_once_and_left_to_itself_if_it_differs(monkeypatch, caplog):
    pictures = Pictures(scene())
    renderer = pictures.renderer
    _, theirs = pictures.both("front")
    renderer._is_checked = False
    monkeypatch.setattr(renderer._software, "draw", lambda: True)  # draws nothing: the last picture stays
    pictures.both("close")
    np.testing.assert_array_equal(renderer.draw(pictures.data, "front"), theirs)
    assert renderer._software is None
    assert "pictures take longer" in caplog.text
    renderer.close()


def test_scenes_share_textures_and_each_has_its_own():
    """In one process, in turns, as in processes of their own; one renderer is left open and forgotten."""
    from focusvla.simulation.rendering import MUJOCO_GROUPS, Renderer, load_mujoco

    mujoco = load_mujoco()
    first, second = scene(), scene().replace('rgb1=".1 .9 .2"', 'rgb1="1 1 0"')

    def picture(xml: str, closes: bool = True) -> np.ndarray:
        model = mujoco.MjModel.from_xml_string(xml)
        data = mujoco.MjData(model)
        mujoco.mj_forward(model, data)
        renderer = Renderer(model, SIZE, SIZE, groups=MUJOCO_GROUPS)
        image = renderer.draw(data, "front")
        if closes:
            renderer.close()
        return image

    pictures = [
        picture(first),
        picture(second),
        picture(first),
        picture(second, closes=False),
        picture(first),
    ]
    np.testing.assert_array_equal(pictures[0], pictures[2])
    np.testing.assert_array_equal(pictures[0], pictures[4])
    np.testing.assert_array_equal(pictures[1], pictures[3])
    assert (pictures[0] != pictures[1]).any()
    alone = subprocess.run(
        [sys.executable, "-c", ALONE], input=second, capture_output=True, text=True, check=True
    )
    assert alone.stdout == str(zlib.crc32(pictures[1].tobytes()))


ALONE = f"""
import sys, zlib
from focusvla.simulation.rendering import MUJOCO_GROUPS, Renderer, load_mujoco, select_rendering_back_end
select_rendering_back_end()
mujoco = load_mujoco()
model = mujoco.MjModel.from_xml_string(sys.stdin.read())
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = Renderer(model, {SIZE}, {SIZE}, groups=MUJOCO_GROUPS)
renderer._aim(data, "front")
print(zlib.crc32(renderer._render_as_mujoco().tobytes()), end="")
"""


def test_pictures_of_all_triangles_between_others_are_the_same_and_leave_no_textures_behind(monkeypatch):
    from OpenGL import GL

    from focusvla.simulation.rendering import MUJOCO_GROUPS, Renderer

    mujoco = pytest.importorskip("mujoco")
    model = mujoco.MjModel.from_xml_string(scene())
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    pictures = []
    for fewer in (True, False, True, False):
        monkeypatch.setenv("FOCUSVLA_FEWER_TRIANGLES", str(int(fewer)))
        renderer = Renderer(model, SIZE, SIZE, groups=MUJOCO_GROUPS)
        if fewer and renderer._software is None:
            pytest.skip("a graphics card draws here")
        assert (renderer._software is not None) == fewer
        pictures.append(renderer.draw(data, "front"))
        names = [int(name) for name in renderer._drawing.texture[: model.ntex]]
        renderer.close()
        assert [bool(GL.glIsTexture(name)) for name in names] == [fewer] * model.ntex
    for picture in pictures[1:]:
        np.testing.assert_array_equal(picture, pictures[0])


def test_textures_beyond_what_is_kept_are_sent_again():
    from focusvla.simulation.rendering import MUJOCO_GROUPS, Renderer, load_mujoco

    mujoco = load_mujoco()
    model = mujoco.MjModel.from_xml_string(scene())
    other = mujoco.MjModel.from_xml_string("<mujoco/>")
    for max_bytes in (10**9, 0):
        renderer = Renderer(model, SIZE, SIZE, groups=MUJOCO_GROUPS)
        pool = renderer._textures
        if pool is None:
            pytest.skip("a graphics card draws here")
        renderer.close()
        sent, pool._max_bytes = {*pool._names}, max_bytes
        Renderer(other, SIZE, SIZE).close()
        assert {*pool._names} == (sent if max_bytes else set())
    pool._max_bytes = 300_000_000


def test_only_triangles_that_a_sample_sees_are_kept():
    """Of a large square before a small one, the small one goes; beside it, it stays; from behind, both go."""
    from focusvla.simulation.visible_triangles import Meshes, VisibleTriangles

    corners = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    meshes = Meshes(
        np.ascontiguousarray(corners.T),
        faces.astype(np.int32),
        np.zeros((4, 8), np.float32),
        faces.astype(np.uint32),
        np.array([[0, 4, 0, 2]]),
    )
    samples = np.array([[0.375, 0.125], [0.875, 0.375], [0.125, 0.625], [0.625, 0.875]], np.float32)
    finder = VisibleTriangles(meshes, SIZE, SIZE, samples)

    def put(size: float, x: float, distance: float, turned: bool = False) -> np.ndarray:
        """A square seen straight on, half as wide as the picture if `size` equals half of `distance`."""
        matrix = np.zeros((4, 4), np.float32)
        matrix[0, 0], matrix[1, 1] = (-size if turned else size), size
        matrix[0, 3], matrix[3, 3] = x, distance
        return matrix

    def counts(*matrices: np.ndarray, hides: bool = True) -> list[int]:
        count = len(matrices)
        hiding, cut = np.full(count, hides), np.zeros(count, bool)
        depth_range = np.array([0.01, 10], np.float32)
        found = finder.find(np.zeros(count, np.int64), np.stack(matrices), hiding, cut, depth_range)
        return found[1].tolist()

    near = put(0.5, 0, 1)
    assert counts(near, put(0.2, 0, 2)) == [2, 0]
    assert counts(put(0.2, 0, 2), near) == [0, 2]
    assert counts(near, put(0.2, 1.5, 2)) == [2, 2]
    assert counts(put(0.5, 0, 1, turned=True)) == [0]
    assert counts(put(0.5, 5, 1)) == [0]
    assert counts(put(0.0005, 0, 1)) == [0]  # between the samples
    assert counts(near, put(0.2, 0, 2), hides=False) == [2, 2]


@pytest.mark.simulator
@pytest.mark.slow
@pytest.mark.parametrize("suite", ["libero_object", "libero_goal", "libero_spatial", "libero_10"])
def test_pictures_of_the_benchmark_are_its_own(suite):
    """A task a suite here; `benchmarks/drawing.py` compares all forty."""
    from focusvla.simulation.libero import CAMERAS, LiberoEnvironment, libero_tasks
    from focusvla.suites import Start

    environment, rng = LiberoEnvironment(libero_tasks(suite)[8]), np.random.default_rng(0)
    environment.reset(Start(init_state=0))
    renderer = environment._ready_renderer()
    for _ in range(4):
        for _ in range(5):
            environment.apply(rng.uniform(-1, 1, 7))
        view = environment._look(environment.snapshot())
        for camera in CAMERAS.values():
            renderer._aim(view, camera)
            assert renderer._software is not None
            assert renderer._software.draw()
            ours = renderer._pixels()
            np.testing.assert_array_equal(ours, renderer._render_as_mujoco())
    environment.close()
