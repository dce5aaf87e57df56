"""OpenGL's functions as they are, for calls that are made hundreds of times a picture."""

import ctypes
import importlib
from functools import cache
from types import SimpleNamespace
from typing import Any

_INT, _REAL, _ADDRESS = ctypes.c_int, ctypes.c_float, ctypes.c_void_p
_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    **dict.fromkeys(
        ["Enable", "Disable", "Clear", "FrontFace", "CullFace", "CallList", "ActiveTexture", "GetString"],
        (_INT,),
    ),
    **dict.fromkeys(("EnableClientState", "DisableClientState"), (_INT,)),
    **dict.fromkeys(("PushMatrix", "PopMatrix"), ()),
    **dict.fromkeys(("Translatef", "Scalef"), (_REAL, _REAL, _REAL)),
    **dict.fromkeys(("MultMatrixf", "Color4fv"), (_ADDRESS,)),
    **dict.fromkeys(("Materialfv", "Lightfv", "TexGenfv"), (_INT, _INT, _ADDRESS)),
    **dict.fromkeys(("BindTexture", "BindBuffer", "PolygonMode", "BlendFunc"), (_INT, _INT)),
    **dict.fromkeys(("StencilFunc", "StencilOp"), (_INT, _INT, _INT)),
    **dict.fromkeys(("GenBuffers", "DeleteBuffers", "DeleteTextures", "ClipPlane"), (_INT, _ADDRESS)),
    **dict.fromkeys(("VertexPointer", "TexCoordPointer", "DrawElements"), (_INT, _INT, _INT, _ADDRESS)),
    "Materialf": (_INT, _INT, _REAL),
    "DepthMask": (_INT,),
    **dict.fromkeys(("ColorMask", "Scissor"), (_INT, _INT, _INT, _INT)),
    "BufferData": (_INT, ctypes.c_ssize_t, _ADDRESS, _INT),
    "NormalPointer": (_INT, _INT, _ADDRESS),
    "GetMultisamplefv": (_INT, _INT, _ADDRESS),
}


@cache
def opengl() -> Any:
    """Functions by their names without `gl`, of the library that draws in this process, and constants without `GL_`."""
    names: dict[str, Any] = {}
    for version in ("1_0", "1_1", "1_3", "1_5", "3_2"):
        names |= vars(importlib.import_module(f"OpenGL.raw.GL.VERSION.GL_{version}"))
    functions = SimpleNamespace(
        **{name.removeprefix("GL_"): int(value) for name, value in names.items() if isinstance(value, int)}
    )
    # A library of its own: the prototypes of PyOpenGL's stay as they are.
    library = ctypes.CDLL(importlib.import_module("OpenGL.platform").PLATFORM.GL._name)
    for name, arguments in _FUNCTIONS.items():
        function = getattr(library, f"gl{name}")
        function.argtypes, function.restype = arguments, None
        setattr(functions, name, function)
    functions.GetString.restype = ctypes.c_char_p
    return functions


def processor_rasterizes() -> bool:
    """Whether the current context is one of Mesa's llvmpipe, for which fewer triangles are less work."""
    gl = opengl()
    return b"llvmpipe" in (gl.GetString(gl.RENDERER) or b"")
