"""What a MuJoCo scene holds, as rows that OpenGL reads."""

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Float32

from focusvla.simulation.opengl import opengl

_SPHERE_LIST, CYLINDER_LIST, _BOX_LIST = 0, 3, 6
"""MuJoCo's display lists of shapes, counted from its context's `baseBuiltin`."""
_COLOR_ROLE, _NUM_ROLES = 1, 10
"""Where a material's color texture stands among its textures in MuJoCo's context."""


@dataclass(frozen=True)
class Texture:
    """How a geom's material is textured."""

    target: int
    """`GL_TEXTURE_2D` or `GL_TEXTURE_CUBE_MAP`."""
    name: int
    planes: Float32[np.ndarray, "coordinates 4"]
    """What makes texture coordinates from places; none where the mesh has its own."""


@dataclass(frozen=True)
class Geoms:
    """The geoms of one picture, as rows that OpenGL reads."""

    kinds: list[int]
    poses: Float[np.ndarray, "geoms 4 4"]
    columns: Float32[np.ndarray, "geoms 16"]
    """Rotations, column by column."""
    positions: Float32[np.ndarray, "geoms 3"]
    sizes: Float32[np.ndarray, "geoms 3"]
    colors: Float32[np.ndarray, "geoms 4"]
    materials: Float32[np.ndarray, "geoms 3"]
    """Emission, specular, shininess."""
    reflectances: list[float]
    lists: list[int]
    """Display lists of shapes; of meshes their numbers."""
    textures: list[Texture | None]
    boxes: Float[np.ndarray, "geoms 8 4"]
    """Corners of what bounds them; not a number where they are not the model's."""


class GeomReader:
    """Reads one scene again and again."""

    def __init__(self, model: Any, scene: Any, context: Any):
        """Of MuJoCo's types MjModel, MjvScene and MjrContext."""
        self._gl = opengl()
        self._mujoco = mujoco = importlib.import_module("mujoco")
        self._scene, self._context = scene, context
        self._handles = list(scene.geoms)
        self._fields = {name: _column(self._handles, name) for name in ("pos", "mat", "size", "rgba")}
        kinds = mujoco.mjtGeom
        self.mesh, self.plane = int(kinds.mjGEOM_MESH), int(kinds.mjGEOM_PLANE)
        self.box = int(kinds.mjGEOM_BOX)
        self.shapes = {
            int(kinds.mjGEOM_SPHERE): context.baseBuiltin + _SPHERE_LIST,
            int(kinds.mjGEOM_ELLIPSOID): context.baseBuiltin + _SPHERE_LIST,
            int(kinds.mjGEOM_CYLINDER): context.baseBuiltin + CYLINDER_LIST,
            self.box: context.baseBuiltin + _BOX_LIST,
        }
        signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
        bounds = model.geom_aabb.reshape(-1, 1, 6)
        corners = bounds[..., :3] + signs * bounds[..., 3:]
        planes = model.geom_type == self.plane
        corners[planes] = signs * (model.geom_size[planes, None] * [1, 1, 0])
        self._box_corners = np.concatenate([corners, np.full((1, 8, 3), np.nan)])
        self._known_textures: dict[tuple[int, ...], Texture | None] = {}

    def read(self) -> Geoms | None:
        """What the scene holds now; None if one of its geoms is of a kind that is not known here."""
        count = self._scene.ngeom
        handles = self._handles[:count]
        kinds = [geom.type for geom in handles]
        if not {*kinds} <= {*self.shapes, self.mesh, self.plane}:
            return None
        # MuJoCo numbers meshes and their convex hulls in turn.
        if any(geom.dataid < 0 or geom.dataid % 2 for geom in handles if geom.type == self.mesh):
            return None
        fields = {name: column[:count] for name, column in self._fields.items()}
        mat, positions = fields["mat"].reshape(-1, 3, 3), np.ascontiguousarray(fields["pos"])
        columns = np.zeros((count, 4, 4), np.float32)
        columns[:, :3, :3], columns[:, 3, 3] = mat.transpose(0, 2, 1), 1
        poses = np.zeros((count, 4, 4))
        poses[:, :3, :3], poses[:, :3, 3], poses[:, 3, 3] = mat, positions, 1
        model_geom = int(self._mujoco.mjtObj.mjOBJ_GEOM)
        numbers = [geom.objid if geom.objtype == model_geom else -1 for geom in handles]
        return Geoms(
            kinds=kinds,
            poses=poses,
            columns=columns.reshape(-1, 16),
            positions=positions,
            sizes=np.ascontiguousarray(fields["size"]),
            colors=np.ascontiguousarray(fields["rgba"]),
            materials=np.array([(g.emission, g.specular, g.shininess) for g in handles], np.float32).reshape(
                -1, 3
            ),
            reflectances=[geom.reflectance for geom in handles],
            lists=[self._list(geom) for geom in handles],
            textures=[self._texture(geom) for geom in handles],
            boxes=np.concatenate([self._box_corners[numbers], np.ones((count, 8, 1))], axis=-1),
        )

    def _list(self, geom: Any) -> int:
        if geom.type == self.mesh:
            return geom.dataid // 2
        return (
            self.shapes[geom.type] if geom.type in self.shapes else self._context.basePlane + geom.dataid + 1
        )

    def _texture(self, geom: Any) -> Texture | None:
        """As MuJoCo's `mjr_render` sets it."""
        if geom.matid < 0:
            return None
        key = (geom.matid, geom.dataid, geom.texcoord, geom.type, geom.objtype, geom.objid)
        if key not in self._known_textures:
            self._known_textures[key] = self._make_texture(geom)
        return self._known_textures[key]

    def _make_texture(self, geom: Any) -> Texture | None:
        gl, context = self._gl, self._context
        texture = int(context.mat_texid[_NUM_ROLES * geom.matid + _COLOR_ROLE])
        if texture < 0:
            return None
        name, size = int(context.texture[texture]), geom.size
        if geom.texcoord:
            return Texture(gl.TEXTURE_2D, name, np.zeros((0, 4), np.float32))
        uniform = bool(context.mat_texuniform[geom.matid])
        if context.textureType[texture] != int(self._mujoco.mjtTexture.mjTEXTURE_2D):
            planes = np.eye(3, 4, dtype=np.float32)
            if uniform:
                planes[range(3), range(3)] = size
            return Texture(gl.TEXTURE_CUBE_MAP, name, planes)
        scales = context.mat_texrepeat[2 * geom.matid : 2 * geom.matid + 2].astype(np.float32)
        for axis in (0, 1):
            if geom.dataid >= 0 and size[axis] > 0:
                scales[axis] = np.float64(scales[axis]) / max(1e-15, np.float64(size[axis]))
            if uniform and size[axis] > 0:
                scales[axis] *= size[axis]
        planes = np.array([[0.5 * scales[0], 0, 0, -0.5], [0, -0.5 * scales[1], 0, -0.5]], np.float32)
        return Texture(gl.TEXTURE_2D, name, planes)


def _column(handles: list[Any], name: str) -> Float32[np.ndarray, "geoms ..."]:
    """One field of all of a scene's geoms, in its memory."""
    first, second = (getattr(geom, name) for geom in handles[:2])
    stride = second.ctypes.data - first.ctypes.data
    return np.lib.stride_tricks.as_strided(first, (len(handles), *first.shape), (stride, *first.strides))
