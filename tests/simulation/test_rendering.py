"""Which back end draws is found out, and what to install is said when none does."""

import os
import subprocess
import sys

import numpy as np
import pytest

pytestmark = pytest.mark.simulator


def doctor(**environment: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MUJOCO", "PYOPENGL", "FOCUSVLA"))}
    command = [sys.executable, "-m", "focusvla", "doctor"]
    return subprocess.run(command, env=kept | environment, capture_output=True, text=True)


def test_a_back_end_is_found_without_being_told():
    found = doctor()
    assert found.returncode == 0, found.stdout + found.stderr
    assert "draws" in found.stdout
    assert "Traceback" not in found.stderr


def test_a_variable_without_which_pictures_can_be_drawn_is_named():
    found = doctor(MUJOCO_GL="glfw", DISPLAY="")
    assert found.returncode == 2
    shown = " ".join(found.stdout.replace("│", " ").split())
    assert "MUJOCO_GL='glfw': nothing can be drawn so" in shown
    assert "Correct or unset MUJOCO_GL." in shown
    assert "Traceback" not in found.stderr


def test_where_no_back_end_draws_the_packages_that_bring_one_are_named(monkeypatch):
    from focusvla.errors import RenderingError
    from focusvla.simulation import rendering

    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(rendering, "_failure", lambda back_end, environment: "no such library")
    with pytest.raises(
        RenderingError, match=r"no rendering back end works \(egl: no such.*apt-get install libegl1"
    ):
        rendering.select_rendering_back_end()


def test_two_renderers_in_turn_draw_the_same_and_the_first_is_closed():
    from focusvla.simulation.rendering import Renderer, load_mujoco

    mujoco = load_mujoco()
    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><light pos='0 0 3'/><geom type='box' size='.2 .3 .1' group='1' rgba='1 0 0 1'/>"
        "<camera name='above' pos='0 0 2'/></worldbody></mujoco>"
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    first = Renderer(model, 32, 32)
    image = first.draw(data, "above")
    second = Renderer(model, 32, 32)
    assert first.closed
    np.testing.assert_array_equal(second.draw(data, "above"), image)
    second.close()


def test_a_picture_of_one_color_is_an_error():
    from focusvla.errors import RenderingError
    from focusvla.simulation.rendering import Renderer, load_mujoco

    mujoco = load_mujoco()
    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><camera name='empty' pos='0 0 2'/></worldbody></mujoco>"
    )
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    renderer = Renderer(model, 16, 16)
    with pytest.raises(RenderingError, match="'empty' draws a single color"):
        renderer.draw(data, "empty")
    renderer.close()


def test_a_process_that_leaves_its_renderer_open_ends_silently():
    script = """
from focusvla.simulation.rendering import Renderer, load_mujoco, select_rendering_back_end
select_rendering_back_end()
kept = Renderer(load_mujoco().MjModel.from_xml_string("<mujoco/>"), 8, 8)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_process_in_which_another_library_ends_all_drawing_ends_silently_too():
    """At exit, before us: it registered its end after ours."""
    script = """
import atexit
from focusvla.simulation.rendering import Renderer, load_mujoco, select_rendering_back_end
if select_rendering_back_end() == "egl":
    Renderer(load_mujoco().MjModel.from_xml_string("<mujoco/>"), 8, 8).close()
    from mujoco import egl
    atexit.register(egl.EGL.eglTerminate, egl.EGL_DISPLAY)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
