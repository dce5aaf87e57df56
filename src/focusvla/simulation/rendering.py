"""Drawing without a screen: which back end works, and a renderer that draws one model.

A process must not hold several OpenGL contexts at once (the third silently draws garbage with Mesa), so a `Renderer`
closes the one that was open before it, or goes on in its context.
"""

import atexit
import importlib
import logging
import os
import subprocess
import sys
import weakref
from collections.abc import Collection, Generator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
from jaxtyping import Int32, UInt8

from focusvla.errors import MissingDependencyError, RenderingError
from focusvla.simulation.compiler_cache import give_compilers_a_cache
from focusvla.simulation.texture_pool import TexturePool

_log = logging.getLogger(__name__)
_BACK_ENDS = ("egl", "osmesa")
_DECISIVE = ("MUJOCO_EGL_DEVICE_ID", "MUJOCO_GL", "CUDA_VISIBLE_DEVICES")
"""Variables that decide how and on what MuJoCo draws."""
_PROBE = """
import mujoco
context = mujoco.GLContext(16, 16)
context.make_current()
drawing = mujoco.MjrContext(mujoco.MjModel.from_xml_string("<mujoco/>"), 100)
drawing.free()
context.free()
"""

MUJOCO_GROUPS = (0, 1, 2)
"""The groups of geometries that MuJoCo draws unless told otherwise."""
LIBERO_GROUPS = (1, 2)
"""Those that the LIBERO benchmark draws: collision geometries (group 0) are left out."""

FEWER_TRIANGLES = "FOCUSVLA_FEWER_TRIANGLES"
"""The variable that is 0 where MuJoCo shall draw all triangles, seen or not: the same pictures, in twice the time."""

_open_renderer: "weakref.ref[Renderer] | None" = None
_kept: tuple[Any, TexturePool] | None = None
"""The OpenGL context of this process and its textures, where a processor draws."""


def select_rendering_back_end() -> str:
    """Choose how MuJoCo draws, once for this process and its children.

    Sets `MUJOCO_GL` and `PYOPENGL_PLATFORM` together, since one without the other fails at import. A value
    that the user has set in `MUJOCO_GL` is the only one tried.

    Raises:
        RenderingError: no back end can draw; the message names the variable that is wrong, or the Debian packages that
            bring one.
    """
    chosen = os.environ.get("MUJOCO_GL", "").lower()
    if chosen and os.environ.get("FOCUSVLA_RENDERING_PROBED") == chosen:
        return chosen
    failures = []
    for back_end in (chosen,) if chosen else _BACK_ENDS:
        failure = _failure(back_end, os.environ)
        if failure is None:
            os.environ.update(
                MUJOCO_GL=back_end, PYOPENGL_PLATFORM=back_end, FOCUSVLA_RENDERING_PROBED=back_end
            )
            return back_end
        failures.append(f"{back_end}: {failure}")
    if blamed := _wrong_variables():
        values = " and ".join(f"{name}={os.environ[name]!r}" for name in blamed)
        raise RenderingError(
            f"{values}: nothing can be drawn so ({'; '.join(failures)}), and without it can. Correct or unset "
            f"{' and '.join(blamed)}."
        )
    raise RenderingError(
        f"no rendering back end works ({'; '.join(failures)}). Install one: apt-get install libegl1 libgl1-mesa-dri "
        "(MUJOCO_GL=egl) or apt-get install libosmesa6 (MUJOCO_GL=osmesa)."
    )


def _failure(back_end: str, environment: Mapping[str, str]) -> str | None:
    """Why a process with that environment cannot draw, its last words; None if it can."""
    probe = subprocess.run(
        [sys.executable, "-c", _PROBE],
        env={**environment, "MUJOCO_GL": back_end, "PYOPENGL_PLATFORM": back_end},
        capture_output=True,
        text=True,
        timeout=120,
    )
    if "No module named 'mujoco'" in probe.stderr:
        raise MissingDependencyError("mujoco", "libero", "Simulation")
    return (probe.stderr.strip().splitlines() or ["no message"])[-1] if probe.returncode else None


def _wrong_variables() -> list[str]:
    """Those of the user's without which something draws: one, or all where one alone makes no difference."""
    given = [name for name in _DECISIVE if name in os.environ]
    for names in [[name] for name in given] + ([given] if len(given) > 1 else []):
        left = {name: value for name, value in os.environ.items() if name not in names}
        chosen = left.get("MUJOCO_GL", "").lower()
        if any(_failure(back_end, left) is None for back_end in ((chosen,) if chosen else _BACK_ENDS)):
            return names
    return []


def load_mujoco() -> Any:
    """The module `mujoco`, whose names no type checker can see.

    Raises:
        MissingDependencyError: it is not installed.
    """
    try:
        return importlib.import_module("mujoco")
    except ModuleNotFoundError as error:
        raise MissingDependencyError("mujoco", "libero", "Simulation") from error


class Renderer:
    """Draws a MuJoCo model's cameras, 4 samples a pixel."""

    def __init__(
        self,
        model: Any,
        height: int,
        width: int,
        groups: Collection[int] = LIBERO_GROUPS,
    ):
        """Open a drawing context for `model` (`mujoco.MjModel`), images of `height` x `width` pixels.

        Geometries of `groups` are drawn.
        """
        global _kept, _open_renderer
        mujoco = load_mujoco()
        _close_open_renderer()
        self._model = model
        self._mujoco = mujoco
        model.vis.global_.offheight = max(height, model.vis.global_.offheight)
        model.vis.global_.offwidth = max(width, model.vis.global_.offwidth)
        try:
            platform = importlib.import_module(f"mujoco.{select_rendering_back_end()}")
            self._context = _kept[0] if _kept else platform.GLContext(width, height)
            _close_at_exit()
            self._context.make_current()
            software = _software_drawing()
            self._textures = None
            if software is None:
                self._drawing = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
            else:
                self._textures = _kept[1] if _kept else TexturePool(mujoco)
                _kept = self._context, self._textures
                with _without_faces(model):  # which MuJoCo need not draw; sending them takes half a second
                    self._drawing = self._textures.open(model)
            self._has_meshes = software is None
        except Exception as error:
            raise RenderingError(
                f"cannot open a rendering context: {error}. Run `focusvla doctor`."
            ) from error
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._drawing)
        self._scene = mujoco.MjvScene(model, maxgeom=1000)
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = [group in groups for group in range(len(self._option.geomgroup))]
        self._viewpoint = mujoco.MjvCamera()
        self._viewpoint.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._perturbation = mujoco.MjvPerturb()
        self._viewport = mujoco.MjrRect(0, 0, width, height)
        self._software = None
        if software is not None and self._drawing.offSamples == software.SAMPLES:
            self._software = software(model, self._scene, self._drawing, self._viewport)
        self._is_checked = self._software is None or self._software.is_compared_with(mujoco.__version__)
        self._closed = False
        _open_renderer = weakref.ref(self)

    @property
    def closed(self) -> bool:
        """Whether its context is gone, because it or its successor was told so."""
        return self._closed

    def draw(self, data: Any, camera: str) -> UInt8[np.ndarray, "height width 3"]:
        """The view of `camera` in `data` (`mujoco.MjData`), first row at the bottom as OpenGL and LIBERO give
        it.

        Raises:
            RenderingError: the picture has one single color, which is how a broken context shows.
        """
        self._aim(data, camera)
        image = self._render()
        if (image == image[0, 0]).all():
            raise RenderingError(f"camera {camera!r} draws a single color. Run `focusvla doctor`.")
        return image

    def draw_segmentation(self, data: Any, camera: str) -> Int32[np.ndarray, "height width"]:
        """Which geometry each pixel of `draw` shows, -1 where it shows none; sites, which are markers, are left out.

        The color that MuJoCo then draws an object with is its number in the scene plus one, lowest byte first.
        """
        mujoco = self._mujoco
        shown = self._option.sitegroup.copy()
        self._option.sitegroup[:] = 0
        self._aim(data, camera)
        self._option.sitegroup[:] = shown
        flags = [int(mujoco.mjtRndFlag.mjRND_SEGMENT), int(mujoco.mjtRndFlag.mjRND_IDCOLOR)]
        self._scene.flags[flags] = 1
        colors = self._render_as_mujoco()
        self._scene.flags[flags] = 0
        geometries = np.full(self._scene.maxgeom + 1, -1, np.int32)
        for drawn in self._scene.geoms[: self._scene.ngeom]:
            if drawn.objtype == mujoco.mjtObj.mjOBJ_GEOM:
                geometries[drawn.segid + 1] = drawn.objid
        return geometries[colors.astype(np.int32) @ np.array([1, 1 << 8, 1 << 16], np.int32)]

    def _aim(self, data: Any, camera: str) -> None:
        """Put into the scene what `camera` is to see."""
        mujoco = self._mujoco
        self._context.make_current()  # another library in this process may draw too
        self._viewpoint.fixedcamid = self._model.camera(camera).id
        mujoco.mjv_updateScene(
            self._model,
            data,
            self._option,
            self._perturbation,
            self._viewpoint,
            mujoco.mjtCatBit.mjCAT_ALL,
            self._scene,
        )

    def _render(self) -> UInt8[np.ndarray, "height width 3"]:
        """The scene's picture, by the faster way if there is one."""
        if self._software is None or not self._software.draw():
            return self._render_as_mujoco()
        image = self._pixels()
        if not self._is_checked:
            self._is_checked = True
            if (image != (expected := self._render_as_mujoco())).any():
                self._software.close()
                self._software = None
                _log.warning(
                    "MuJoCo and Mesa draw otherwise here than in the versions known: pictures take longer"
                )
                return expected
        return image

    def _render_as_mujoco(self) -> UInt8[np.ndarray, "height width 3"]:
        if not self._has_meshes:
            self._has_meshes = True
            for mesh in range(self._model.nmesh):
                self._mujoco.mjr_uploadMesh(self._model, self._drawing, mesh)
        self._mujoco.mjr_render(self._viewport, self._scene, self._drawing)
        return self._pixels()

    def _pixels(self) -> UInt8[np.ndarray, "height width 3"]:
        image = np.empty((self._viewport.height, self._viewport.width, 3), np.uint8)
        self._mujoco.mjr_readPixels(image, None, self._viewport, self._drawing)
        return image

    def close(self) -> None:
        """Free the context; called more than once it does nothing."""
        if not self._closed:
            self._closed = True
            self._context.make_current()
            if self._software is not None:
                self._software.close()
            if self._textures is not None:
                self._textures.release(self._drawing)
            self._drawing.free()
            if _kept is None or self._context is not _kept[0]:
                self._context.free()


def _software_drawing() -> Any:
    """The class `SoftwareDrawing`, where the current context is one that it draws faster in; else None."""
    from focusvla.simulation.opengl import processor_rasterizes

    wanted = os.environ.get(FEWER_TRIANGLES, "1") != "0"
    if not wanted or not processor_rasterizes() or find_spec("numba") is None:
        return None
    give_compilers_a_cache()
    from focusvla.simulation.software_drawing import SoftwareDrawing

    return SoftwareDrawing


@contextmanager
def _without_faces(model: Any) -> Generator[None]:
    """Let meshes be empty in this block."""
    kept = model.mesh_facenum.copy()
    model.mesh_facenum[:] = 0
    try:
        yield
    finally:
        model.mesh_facenum[:] = kept


def _close_open_renderer() -> None:
    previous = _open_renderer() if _open_renderer is not None else None
    if previous is not None:
        previous.close()


def _free_all() -> None:
    try:
        _close_open_renderer()
        if _kept is not None:
            _kept[0].free()
    except importlib.import_module("OpenGL.error").Error:
        if _kept is not None:
            # Another library has ended all drawing, this with it: nothing is left to free.
            _kept[0]._context = None


@cache
def _close_at_exit() -> None:
    """Free the context before MuJoCo's first one's handler shuts EGL down: handlers run last in, first out."""
    atexit.register(_free_all)
