"""The pictures that MuJoCo draws, from fewer triangles, where a processor rasterizes.

MuJoCo sends every triangle of a scene for every picture. Here those of meshes that cover no sample stay out, and what is
left is drawn with MuJoCo's own state, lists and order, so that each pixel comes from the same computation.
`benchmarks/drawing.py` compares.
"""

import ctypes
import importlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32

from focusvla.simulation.camera_geometry import boxes_in_view, camera, reflection
from focusvla.simulation.opengl import opengl
from focusvla.simulation.scene_geoms import CYLINDER_LIST, GeomReader, Geoms, Texture
from focusvla.simulation.visible_triangles import VisibleTriangles, read_meshes

_VERTEX_BYTES = 32
_Ranges = dict[int, list[tuple[int, int]]]
"""Of geoms that are meshes, what is drawn at once: the number of the first triangle sent, and how many."""


class SoftwareDrawing:
    """Draws one model's scene into MuJoCo's offscreen buffer, in the current OpenGL context."""

    SAMPLES = 4
    """A pixel's, and no other number."""
    COMPARED_WITH = (("3.3.7", b"Mesa 22.3.6"),)
    """Versions of MuJoCo, whose state, lists and order these are, and of the rasterizer, of which many were compared."""

    def __init__(self, model: Any, scene: Any, context: Any, viewport: Any):
        """Of MuJoCo's types MjModel, MjvScene, MjrContext (with `SAMPLES`) and MjrRect."""
        self._gl = gl = opengl()
        self._mujoco = mujoco = importlib.import_module("mujoco")
        self._scene, self._context, self._viewport = scene, context, viewport
        samples = np.empty((self.SAMPLES, 2), np.float32)
        for number in range(self.SAMPLES):
            gl.GetMultisamplefv(gl.SAMPLE_POSITION, number, samples[number].ctypes.data)
        meshes = read_meshes(model)
        self._triangles = VisibleTriangles(meshes, viewport.height, viewport.width, samples)
        self._vertices, self._corners = ctypes.c_uint(), ctypes.c_uint()
        gl.GenBuffers(1, ctypes.byref(self._vertices))
        gl.GenBuffers(1, ctypes.byref(self._corners))
        gl.BindBuffer(gl.ARRAY_BUFFER, self._vertices.value)
        gl.BufferData(gl.ARRAY_BUFFER, meshes.vertices.nbytes, meshes.vertices.ctypes.data, gl.STATIC_DRAW)
        gl.BindBuffer(gl.ARRAY_BUFFER, 0)
        self._reader = GeomReader(model, scene, context)
        skyboxes = np.flatnonzero(
            context.textureType[: context.ntexture] == int(mujoco.mjtTexture.mjTEXTURE_SKYBOX)
        )
        self._skybox = int(context.texture[skyboxes[0]]) if len(skyboxes) else None

    def is_compared_with(self, version: str) -> bool:
        """Whether pictures are known to be those of MuJoCo's `version` and the rasterizer here."""
        rasterizer = self._gl.GetString(self._gl.VERSION) or b""
        return any(known == version and mesa in rasterizer for known, mesa in self.COMPARED_WITH)

    def close(self) -> None:
        """Free what this holds in the OpenGL context, which must be current."""
        self._gl.DeleteBuffers(1, ctypes.byref(self._vertices))
        self._gl.DeleteBuffers(1, ctypes.byref(self._corners))

    def draw(self) -> bool:
        """Draw what the scene shows; False, and nothing is drawn, if it holds anything that only MuJoCo can draw."""
        gl, scene = self._gl, self._scene
        geoms = self._reader.read()
        head, view = camera(scene, self._viewport.width / self._viewport.height)
        if geoms is None or not self._is_plain(geoms, head):
            return False
        alpha = geoms.colors[:, 3]
        opaque = np.flatnonzero(alpha >= 0.995)
        blended = np.flatnonzero((alpha < 0.995) & (alpha > 0))  # what is not seen at all changes nothing
        if len(blended) > 1:  # in an order of MuJoCo's own
            return False
        mirror = next((i for i in opaque.tolist() if self._reflects(geoms, i)), None)
        self._begin()
        if mirror is not None:
            self._draw_reflection(geoms, mirror, opaque, blended, view, head)
        seen, ranges = self._send(
            geoms, np.concatenate([opaque, blended]), view, self._may_be_cut(geoms, view)
        )
        self._light()
        if mirror is not None and seen[mirror]:
            gl.Enable(gl.BLEND)
            gl.BlendFunc(gl.ONE, gl.ONE)
            self._draw_geoms(geoms, [mirror], ranges)
            gl.Disable(gl.BLEND)
        self._draw_geoms(geoms, [i for i in opaque.tolist() if seen[i] and i != mirror], ranges)
        self._unlight()
        if self._skybox is not None and scene.flags[int(self._mujoco.mjtRndFlag.mjRND_SKYBOX)]:
            self._draw_skybox(head)
        if seen[blended].any():
            self._light()
            self._draw_blended(geoms, 2 * blended.tolist(), ranges)
            self._unlight()
        self._end()
        return True

    def _is_plain(self, geoms: Geoms, head: Float32[np.ndarray, "3"]) -> bool:
        """Whether there are no shadows, fog, stereo views, labels, endless planes and planes seen from behind."""
        scene, flag = self._scene, self._mujoco.mjtRndFlag
        planes = [i for i, kind in enumerate(geoms.kinds) if kind == self._reader.plane]
        endless_or_behind = any(
            not geoms.sizes[i, :2].all() or (head - geoms.positions[i]) @ geoms.columns[i, 8:11] < 0
            for i in planes
        )
        lights = [scene.lights[i] for i in range(scene.nlight)]
        kinds = {
            int(self._mujoco.mjtLightType.mjLIGHT_SPOT),
            int(self._mujoco.mjtLightType.mjLIGHT_DIRECTIONAL),
        }
        others = (flag.mjRND_WIREFRAME, flag.mjRND_ADDITIVE, flag.mjRND_FOG, flag.mjRND_SEGMENT)
        return not (
            endless_or_behind
            or any(int(light.type) not in kinds for light in lights)
            or (scene.flags[int(flag.mjRND_SHADOW)] and any(light.castshadow for light in lights))
            or any(scene.flags[int(other)] for other in others)
            or not scene.flags[int(flag.mjRND_CULL_FACE)]
            or (scene.stereo or scene.enabletransform or scene.framewidth or scene.nskin or scene.nflex)
            or scene.camera[0].orthographic
        )

    def _reflects(self, geoms: Geoms, geom: int) -> bool:
        return (
            geoms.kinds[geom] in (self._reader.plane, self._reader.box)
            and geoms.reflectances[geom] > 0
            and bool(self._scene.flags[int(self._mujoco.mjtRndFlag.mjRND_REFLECTION)])
        )

    def _begin(self) -> None:
        """Have MuJoCo clear the buffer and set the camera, the lights and all else, with an empty scene."""
        gl, scene, sky = self._gl, self._scene, int(self._mujoco.mjtRndFlag.mjRND_SKYBOX)
        count, skybox = scene.ngeom, int(scene.flags[sky])
        scene.ngeom, scene.flags[sky] = 0, 0
        self._mujoco.mjr_render(self._viewport, scene, self._context)
        scene.ngeom, scene.flags[sky] = count, skybox
        gl.BindBuffer(gl.ARRAY_BUFFER, self._vertices.value)
        gl.BindBuffer(gl.ELEMENT_ARRAY_BUFFER, self._corners.value)
        gl.VertexPointer(3, gl.FLOAT, _VERTEX_BYTES, 20)
        gl.NormalPointer(gl.FLOAT, _VERTEX_BYTES, 8)
        gl.TexCoordPointer(2, gl.FLOAT, _VERTEX_BYTES, 0)
        gl.EnableClientState(gl.VERTEX_ARRAY)
        gl.EnableClientState(gl.NORMAL_ARRAY)

    def _end(self) -> None:
        gl = self._gl
        gl.DisableClientState(gl.VERTEX_ARRAY)
        gl.DisableClientState(gl.NORMAL_ARRAY)
        gl.BindBuffer(gl.ARRAY_BUFFER, 0)
        gl.BindBuffer(gl.ELEMENT_ARRAY_BUFFER, 0)

    def _send(
        self,
        geoms: Geoms,
        candidates: np.ndarray,
        view: Float[np.ndarray, "4 4"],
        cut: Bool[np.ndarray, " geoms"],
        window: Float32[np.ndarray, "4"] | None = None,
    ) -> tuple[Bool[np.ndarray, " geoms"], _Ranges]:
        """Find what of the candidates may be seen, in `window` (pixels) of a mirror if that is given, and send its
        triangles. Returns which geoms, and of each mesh what is to be drawn at once: the first triangle and how many.

        `cut` are those of which a corner may be outside what is drawn.
        """
        gl = self._gl
        matrices = view @ geoms.poses
        seen = np.zeros(len(geoms.kinds), bool)
        size = np.array([self._viewport.width, self._viewport.height])
        bounds = np.array([-1.0, -1, 1, 1]) if window is None else window / np.tile(size / 2, 2) - 1
        seen[candidates] = boxes_in_view(geoms.boxes[candidates], matrices[candidates], bounds)
        kinds = np.array(geoms.kinds, np.int64)[candidates]
        in_view = seen[candidates]
        drawn = candidates[in_view & (kinds == self._reader.mesh)]
        others = candidates[in_view & (kinds != self._reader.mesh)]
        boxes = others[(kinds[in_view & (kinds != self._reader.mesh)] == self._reader.box) & (window is None)]
        scaled = matrices[boxes].copy()
        scaled[..., :3] *= geoms.sizes[boxes, None]
        lens = self._scene.camera[0]
        corners, counts, breaks = self._triangles.find(
            np.concatenate([np.array(geoms.lists, np.int64)[drawn], np.full(len(boxes), -1)]),
            np.concatenate([matrices[drawn], scaled]).astype(np.float32),
            geoms.colors[np.concatenate([drawn, boxes]), 3] >= 0.995,
            np.concatenate([cut[drawn], np.zeros(len(boxes), bool)]),
            np.array([lens.frustum_near, lens.frustum_far], np.float32),
            window,
            mirrored=window is not None,
        )
        counts = counts[: len(drawn)]
        gl.BufferData(gl.ELEMENT_ARRAY_BUFFER, 12 * int(counts.sum()), corners.ctypes.data, gl.STREAM_DRAW)
        ends = np.cumsum(counts)
        edges = np.unique(np.concatenate([[0], ends, breaks]))
        ranges: _Ranges = {}
        for owner, first, last in zip(np.searchsorted(ends, edges, "right"), edges, edges[1:], strict=False):
            ranges.setdefault(int(drawn[owner]), []).append((int(first), int(last - first)))
        seen[drawn] = counts > 0
        if window is None:
            places = geoms.boxes[others] @ matrices[others].transpose(0, 2, 1)
            seen[others] = ~self._triangles.hidden(places[..., [0, 1, 3]])
        return seen, ranges

    def _may_be_cut(self, geoms: Geoms, view: Float[np.ndarray, "4 4"]) -> Bool[np.ndarray, " geoms"]:
        """Which geoms are not within the picture with all corners of their bounding boxes."""
        lens = self._scene.camera[0]
        x, y, _, w = np.moveaxis(geoms.boxes @ (view @ geoms.poses).transpose(0, 2, 1), -1, 0)
        reach = 0.99 * w
        within = (np.abs(x) < reach) & (np.abs(y) < reach)
        within &= (w > 1.01 * lens.frustum_near) & (w < 0.99 * lens.frustum_far)
        return ~within.all(axis=1)

    def _light(self) -> None:
        """Put the lights where the current matrix has them, and switch them on."""
        gl, scene = self._gl, self._scene
        for number in range(scene.nlight):
            light, name = scene.lights[number], gl.LIGHT0 + number
            if int(light.type) == int(self._mujoco.mjtLightType.mjLIGHT_DIRECTIONAL):
                place = np.array([*-light.dir, 0], np.float32)
            else:
                direction = np.array([*light.dir, 0], np.float32)
                gl.Lightfv(name, gl.SPOT_DIRECTION, direction.ctypes.data)
                place = np.array([*light.pos, 1], np.float32)
            gl.Lightfv(name, gl.POSITION, place.ctypes.data)
            gl.Enable(name)

    def _unlight(self) -> None:
        for number in range(self._scene.nlight):
            self._gl.Disable(self._gl.LIGHT0 + number)

    def _draw_geoms(self, geoms: Geoms, drawn: Iterable[int], ranges: _Ranges, dimmed: float = 1.0) -> None:
        """In this order, `dimmed` as a mirror shows them."""
        gl = self._gl
        colors = geoms.colors.copy()
        colors[:, :3] *= np.float32(dimmed)
        emissions, specular = np.ones_like(colors), np.ones_like(colors)
        emissions[:, :3] = geoms.materials[:, :1] * colors[:, :3]
        specular[:, :3] = geoms.materials[:, 1:2]
        shininess = (geoms.materials[:, 2] * np.float32(128)).tolist()
        positions, sizes = geoms.positions.tolist(), geoms.sizes.tolist()
        rows = [array.ctypes.data for array in (emissions, specular, colors, geoms.columns)]
        both = gl.FRONT_AND_BACK
        for i in drawn:
            texture = geoms.textures[i]
            if texture is not None:
                self._switch_texture(texture, gl.Enable)
            gl.Materialfv(both, gl.EMISSION, rows[0] + 16 * i)
            gl.Materialfv(both, gl.SPECULAR, rows[1] + 16 * i)
            gl.Materialf(both, gl.SHININESS, shininess[i])
            gl.Color4fv(rows[2] + 16 * i)
            gl.PushMatrix()
            gl.Translatef(*positions[i])
            gl.MultMatrixf(rows[3] + 64 * i)
            if geoms.kinds[i] == self._reader.mesh:
                for first, count in ranges[i]:
                    gl.DrawElements(gl.TRIANGLES, 3 * count, gl.UNSIGNED_INT, 12 * first)
            else:
                if geoms.kinds[i] in self._reader.shapes:
                    gl.Scalef(*sizes[i])
                gl.CallList(geoms.lists[i])
            gl.PopMatrix()
            if texture is not None:
                self._switch_texture(texture, gl.Disable)

    def _switch_texture(self, texture: Texture, switch: Any) -> None:
        gl = self._gl
        on = switch is gl.Enable
        switch(texture.target)
        if not len(texture.planes):
            (gl.EnableClientState if on else gl.DisableClientState)(gl.TEXTURE_COORD_ARRAY)
        if on:
            gl.BindTexture(texture.target, texture.name)
        for coordinate, plane in enumerate(texture.planes):
            switch(gl.TEXTURE_GEN_S + coordinate)
            if on:
                gl.TexGenfv(gl.S + coordinate, gl.OBJECT_PLANE, plane.ctypes.data)

    def _draw_reflection(
        self,
        geoms: Geoms,
        mirror: int,
        opaque: np.ndarray,
        blended: np.ndarray,
        view: Float[np.ndarray, "4 4"],
        head: Float32[np.ndarray, "3"],
    ) -> None:
        """What the upper side of one geom shows."""
        gl = self._gl
        size, axis = geoms.sizes[mirror], geoms.columns[mirror, 8:11].copy()
        position = geoms.positions[mirror].copy()
        if geoms.kinds[mirror] == self._reader.box:
            position += size[2] * axis
        if (head - position) @ axis < 0:
            return
        mirrored = reflection(position, axis)
        places = (geoms.boxes @ geoms.poses.transpose(0, 2, 1))[..., :3]
        above = ~((places - position) @ axis < 0).all(axis=1)
        above[mirror] = False
        others = np.concatenate([opaque[above[opaque]], blended[above[blended]]])
        window = self._window_of(geoms, mirror, view)
        reflected = view @ mirrored.astype(np.float64)
        cut = self._may_be_cut(geoms, reflected) | ((places - position) @ axis < 0.001).any(axis=1)
        seen, ranges = self._send(geoms, others, reflected, cut, window)
        if not seen.any():
            return
        gl.Clear(
            gl.STENCIL_BUFFER_BIT
        )  # whole: where a scissor cuts it, llvmpipe forgets samples of its edge
        left, bottom, right, top = map(int, window)
        gl.Scissor(left, bottom, right - left, top - bottom)
        gl.Enable(gl.SCISSOR_TEST)
        gl.Disable(gl.DEPTH_TEST)
        gl.ColorMask(0, 0, 0, 0)
        gl.Enable(gl.STENCIL_TEST)
        gl.StencilFunc(gl.ALWAYS, 1, 0xFF)
        gl.StencilOp(gl.REPLACE, gl.REPLACE, gl.REPLACE)
        gl.PushMatrix()
        gl.Translatef(*position.tolist())
        gl.MultMatrixf(geoms.columns[mirror].ctypes.data)
        if geoms.kinds[mirror] == self._reader.box:
            gl.Scalef(float(size[0]), float(size[1]), 1.0)
            gl.CallList(self._context.basePlane)
        else:
            gl.CallList(geoms.lists[mirror])
        gl.PopMatrix()
        gl.Enable(gl.DEPTH_TEST)
        gl.ColorMask(1, 1, 1, 1)
        gl.StencilFunc(gl.EQUAL, 1, 0xFF)
        gl.StencilOp(gl.KEEP, gl.KEEP, gl.KEEP)
        gl.Enable(gl.CLIP_PLANE0)
        x, y, z = axis
        offset = position[0] * x + position[1] * y + position[2] * z
        plane = np.array([-x, -y, -z, offset], np.float64)
        gl.ClipPlane(gl.CLIP_PLANE0, plane.ctypes.data)
        gl.FrontFace(gl.CW)
        gl.PushMatrix()
        matrix = np.ascontiguousarray(mirrored.T)
        gl.MultMatrixf(matrix.ctypes.data)
        self._light()
        dimmed = geoms.reflectances[mirror]
        self._draw_geoms(geoms, [i for i in opaque.tolist() if seen[i]], ranges, dimmed)
        if seen[blended].any():
            self._draw_blended(geoms, 2 * blended.tolist(), ranges, dimmed)
        self._unlight()
        gl.Disable(gl.SCISSOR_TEST)
        gl.Disable(gl.STENCIL_TEST)
        gl.Disable(gl.CLIP_PLANE0)
        gl.PopMatrix()
        gl.FrontFace(gl.CCW)

    def _window_of(self, geoms: Geoms, geom: int, view: Float[np.ndarray, "4 4"]) -> Float32[np.ndarray, "4"]:
        """Left, bottom, right and top of the pixels that a geom may cover."""
        size = np.array([self._viewport.width, self._viewport.height], np.float32)
        x, y, _, w = (geoms.boxes[geom] @ (view @ geoms.poses[geom]).T).T
        if not (w > 0.02).all():
            return np.array([0, 0, *size], np.float32)
        places = (np.stack([x / w, y / w], axis=1) + 1) / 2 * size
        low, high = np.floor(places.min(axis=0)) - 1, np.ceil(places.max(axis=0)) + 1
        return np.concatenate([np.clip(low, 0, size), np.clip(high, 0, size)]).astype(np.float32)

    def _draw_blended(self, geoms: Geoms, drawn: list[int], ranges: _Ranges, dimmed: float = 1.0) -> None:
        gl = self._gl
        gl.DepthMask(0)
        gl.Enable(gl.BLEND)
        gl.BlendFunc(gl.SRC_ALPHA, gl.ONE_MINUS_SRC_ALPHA)
        self._draw_geoms(geoms, drawn, ranges, dimmed)
        gl.DepthMask(1)
        gl.Disable(gl.BLEND)

    def _draw_skybox(self, head: Float32[np.ndarray, "3"]) -> None:
        gl, far = self._gl, self._scene.camera[0].frustum_far
        distance = float(np.float32(far) * np.float32(0.70))
        planes = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0]], np.float32)
        texture = Texture(gl.TEXTURE_CUBE_MAP, self._skybox or 0, planes)
        gl.Disable(gl.LIGHTING)
        gl.Disable(gl.COLOR_MATERIAL)
        gl.CullFace(gl.FRONT)
        gl.PushMatrix()
        gl.Translatef(*head.tolist())
        gl.Scalef(distance, distance, distance)
        self._switch_texture(texture, gl.Enable)
        white = np.ones(4, np.float32)
        gl.Color4fv(white.ctypes.data)
        gl.CallList(self._context.baseBuiltin + CYLINDER_LIST)
        self._switch_texture(texture, gl.Disable)
        gl.PopMatrix()
        gl.Enable(gl.LIGHTING)
        gl.Enable(gl.COLOR_MATERIAL)
        gl.CullFace(gl.BACK)
