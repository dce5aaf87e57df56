"""Textures that stay in this process's OpenGL context from scene to scene.

Sending the textures of a LIBERO scene, 150 MB, takes llvmpipe longer than all else that opening a renderer takes, and
most of them are those of the scene before.
"""

import ctypes
from collections.abc import Generator
from contextlib import contextmanager
from hashlib import sha256
from typing import Any

from focusvla.simulation.opengl import opengl


class TexturePool:
    """Opens MuJoCo's drawing contexts, one at a time, all in the OpenGL context that is current when it is made."""

    def __init__(self, mujoco: Any, max_bytes: int = 300_000_000):
        """Hold up to `max_bytes` of pixels that the present scene does not use."""
        self._mujoco, self._gl = mujoco, opengl()
        self._max_bytes = max_bytes
        self._names: dict[tuple[Any, ...], int] = {}
        self._opened: Any = None
        """Held here: collected before it is released, it would take the textures with it."""

    def open(self, model: Any) -> Any:
        """`mujoco.MjrContext(model, ...)`, with textures from before where it can be. Release it before it is freed."""
        if self._opened is not None:
            self.release(self._opened)
        keys = [_key(model, texture) for texture in range(model.ntex)]
        with _tiny_textures(model):
            context = self._mujoco.MjrContext(model, self._mujoco.mjtFontScale.mjFONTSCALE_100)
        for texture, key in enumerate(keys):
            if key in self._names:
                self._delete(int(context.texture[texture]))
                context.texture[texture] = self._names[key]
            else:
                self._mujoco.mjr_uploadTexture(model, context, texture)
                self._names[key] = int(context.texture[texture])
        self._forget({*keys})
        self._opened = context
        return context

    def release(self, context: Any) -> None:
        """Take the textures out of `context`, which would delete them with itself."""
        context.texture[:] = 0
        if self._opened is context:
            self._opened = None

    def _forget(self, used: set[tuple[Any, ...]]) -> None:
        unused = {key: key[0] * key[1] * key[2] for key in self._names if key not in used}
        for key in unused if sum(unused.values()) > self._max_bytes else ():
            self._delete(self._names.pop(key))

    def _delete(self, name: int) -> None:
        self._gl.DeleteTextures(1, ctypes.byref(ctypes.c_uint(name)))


def _key(model: Any, texture: int) -> tuple[Any, ...]:
    """All that decides what MuJoCo sends."""
    height, width = int(model.tex_height[texture]), int(model.tex_width[texture])
    channels, first = int(model.tex_nchannel[texture]), int(model.tex_adr[texture])
    pixels = model.tex_data[first : first + height * width * channels]
    kinds = int(model.tex_type[texture]), int(model.tex_colorspace[texture])
    return height, width, channels, *kinds, sha256(pixels).digest()


@contextmanager
def _tiny_textures(model: Any) -> Generator[None]:
    """Let textures have one pixel a side in this block."""
    height, width = model.tex_height.copy(), model.tex_width.copy()
    # A cube's six sides stand on one another where they differ.
    model.tex_height[:] = [6 if h == 6 * w else 1 for h, w in zip(height, width, strict=True)]
    model.tex_width[:] = 1
    try:
        yield
    finally:
        model.tex_height[:], model.tex_width[:] = height, width
