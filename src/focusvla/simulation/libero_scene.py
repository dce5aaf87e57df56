"""What is where in a LIBERO scene: the privileged knowledge of experts and of start states, never of a
policy."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int8

from focusvla.simulation.rendering import load_mujoco
from focusvla.suites import REGIONS

_COLLISION_GROUP, _VISUAL_GROUP = 0, 1


@dataclass(frozen=True, kw_only=True)
class Arm:
    """Where the robot is."""

    position: Float[np.ndarray, "3"]
    """Of the place between the fingers, in meters."""
    quaternion: Float[np.ndarray, "4"]
    """Of the hand (x, y, z, w)."""
    rotation: Float[np.ndarray, "3 3"]
    """Of the place between the fingers."""
    fingers: Float[np.ndarray, "2"]
    joints: Float[np.ndarray, "7"]
    """In radians."""


class LiberoScene:
    """Geometry queries on a live simulation. Lengths in meters, world frame: x away from the robot, z up."""

    def __init__(self, environment: Any):
        """Bind to a robosuite `environment` (`BDDLBaseDomain`), which may be reset but not rebuilt."""
        self._environment = environment
        self.model = environment.sim.model._model
        self.data = environment.sim.data._data
        self._site = self.model.site(environment.robots[0].controller.eef_name).id
        self._parents = self.model.body_parentid

    @property
    def goal(self) -> list[list[str]]:
        """The predicates to make true, such as `["in", "alphabet_soup_1", "basket_1_contain_region"]`."""
        return self._environment.parsed_problem["goal_state"]

    def holds(self, predicate: list[str]) -> bool:
        """Whether one predicate of the goal is true now."""
        return bool(self._environment._eval_predicate(predicate))

    @property
    def named_objects(self) -> list[str]:
        """The movable objects that the goal names, in its order; none where it is about a drawer or a stove alone."""
        return list(dict.fromkeys(n for _, *names in self.goal for n in map(self._owner, names) if n))

    def _owner(self, name: str) -> str | None:
        """The movable object that `name` is or is a region of: `basket_1` of `basket_1_contain_region`."""
        return next((o for o in self.object_names if name == o or name.startswith(f"{o}_")), None)

    @property
    def regions_of_geometries(self) -> Int8[np.ndarray, " geometries"]:
        """For each geometry the place in `REGIONS` of what it belongs to, -1 for the rest of the scene.

        A goal's predicate names first what is to be moved, opened or turned, then the target, if it has one; what is
        both, in a task of several steps, counts as an object.
        """
        first, then = ([p[place] for p in self.goal if len(p) > place] for place in (1, 2))
        named = {"target": map(self._whole, then), "object": map(self._whole, first)}
        roots = {
            region: [self._environment.obj_body_id[n] for n in names if n] for region, names in named.items()
        }
        roots["gripper"] = [self.model.body(self._environment.robots[0].gripper.root_body).id]
        regions = np.full(self.model.ngeom, -1, np.int8)
        for region, bodies in roots.items():
            belongs = [any(self._belongs(b, root) for root in bodies) for b in self.model.geom_bodyid]
            regions[belongs] = REGIONS.index(region)
        return regions

    def _whole(self, name: str) -> str | None:
        """The object or fixture that `name` is or is a region of; None for a place on the table."""
        known = [*self.object_names, *self.fixture_names]
        return next((whole for whole in known if name == whole or name.startswith(f"{whole}_")), None)

    @property
    def object_names(self) -> list[str]:
        """Everything movable."""
        return list(self._environment.objects_dict)

    @property
    def fixture_names(self) -> list[str]:
        """Cabinets, stoves and the like; floors and tables, on which everything stands, are left out."""
        return [name for name in self._environment.fixtures_dict if not name.endswith(("floor", "table"))]

    @property
    def robot_base(self) -> Float[np.ndarray, "3"]:
        """Where the robot stands."""
        return self.data.body("robot0_base").xpos.copy()

    @property
    def gripper_position(self) -> Float[np.ndarray, "3"]:
        """The grip site: between the finger pads, 12 mm above their tips."""
        return self.data.site_xpos[self._site].copy()

    @property
    def gripper_rotation(self) -> Float[np.ndarray, "3 3"]:
        """The grip site's axes as columns; the fingers open along its first."""
        return self.data.site_xmat[self._site].reshape(3, 3).copy()

    def object_body(self, name: str) -> int:
        """Number of an object's body in the model."""
        return self._environment.obj_body_id[name]

    def object_position(self, name: str) -> Float[np.ndarray, "3"]:
        """Origin of an object's body."""
        return self.data.xpos[self.object_body(name)].copy()

    def object_rotation(self, name: str) -> Float[np.ndarray, "3 3"]:
        """An object's axes as columns."""
        return self.data.xmat[self._environment.obj_body_id[name]].reshape(3, 3).copy()

    def site_position(self, name: str) -> Float[np.ndarray, "3"]:
        """A named site, such as the containing region of a basket."""
        return self.data.site(name).xpos.copy()

    def site_rotation(self, name: str) -> Float[np.ndarray, "3 3"]:
        """A named site's axes as columns."""
        return self.data.site(name).xmat.reshape(3, 3).copy()

    def site_extent(self, name: str) -> Float[np.ndarray, "3"]:
        """Half of what a named region measures along the world's axes."""
        size = np.asarray(self._environment.object_sites_dict[name].size, np.float64)
        return np.abs(self.site_rotation(name)) @ size

    def front(self, fixture: str) -> Float[np.ndarray, "3"]:
        """The direction that a cabinet or a microwave faces."""
        return -self.object_rotation(fixture)[:, 1]

    def handle_position(self, region: str) -> Float[np.ndarray, "3"]:
        """The bar of a drawer's handle: of the drawer's collision boxes the one that stands out farthest."""
        drawer = self._drawer(region)
        boxes = np.flatnonzero(
            (self.model.geom_bodyid == drawer) & (self.model.geom_group == _COLLISION_GROUP)
        )
        places = self.data.geom_xpos[boxes]
        return places[(places @ self.drawer_direction(region)).argmax()].copy()

    def drawer_opening(self, region: str) -> float:
        """Meters that a drawer is pulled out."""
        joint = self.model.body_jntadr[self._drawer(region)]
        return -float(self.data.qpos[self.model.jnt_qposadr[joint]])

    def drawer_direction(self, region: str) -> Float[np.ndarray, "3"]:
        """The direction in which a drawer is pulled out."""
        return -self.data.xaxis[self.model.body_jntadr[self._drawer(region)]]

    def door(self, fixture: str) -> tuple[Float[np.ndarray, "3"], float, float]:
        """A door that turns about the vertical: a point of its hinge, its width, and the height of its upper edge."""
        joint = self._hinge(fixture)
        hinge, body = self.data.xanchor[joint].copy(), self.model.jnt_bodyid[joint]
        points = self._points_of(
            np.flatnonzero((self.model.geom_bodyid == body) & (self.model.geom_group == _COLLISION_GROUP))
        )
        width = float(np.linalg.norm(points[:, :2] - hinge[:2], axis=1).max())
        return hinge, width, float(points[:, 2].max())

    def door_angle(self, fixture: str) -> float:
        """Radians by which a door is turned; 0 is shut."""
        return float(self.data.qpos[self.model.jnt_qposadr[self._hinge(fixture)]])

    def _hinge(self, fixture: str) -> int:
        mujoco = load_mujoco()
        root = self._environment.obj_body_id[fixture]
        return next(
            joint
            for joint in range(self.model.njnt)
            if self.model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_HINGE
            and self._belongs(self.model.jnt_bodyid[joint], root)
        )

    def _drawer(self, region: str) -> int:
        """`wooden_cabinet_1_top_region` lies in the body `wooden_cabinet_1_cabinet_top`."""
        cabinet, level = region.removesuffix("_region").rsplit("_", 1)
        return self.model.body(f"{cabinet}_cabinet_{level}").id

    def knob(self, stove: str) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "3"], float]:
        """A stove's knob: a point of its axis, the middle of its fin, and the height of the fin's top."""
        joint = self.model.joint(f"{stove}_button").id
        axis, body = self.data.xanchor[joint].copy(), self.model.jnt_bodyid[joint]
        corners = []
        for geom in np.flatnonzero(
            (self.model.geom_bodyid == body) & (self.model.geom_group == _COLLISION_GROUP)
        ):
            reach = np.abs(self.data.geom_xmat[geom].reshape(3, 3)) @ self.model.geom_size[geom]
            middle = self.data.geom_xpos[geom]
            if middle[2] + reach[2] > axis[2] + 0.03:
                corners += [middle - reach, middle + reach]
        low, high = np.min(corners, axis=0), np.max(corners, axis=0)
        return axis, (low + high) / 2, float(high[2])

    def object_radius(self, name: str) -> float:
        """Meters from an object's origin to its farthest visible point, seen from above."""
        points = self.surface_points(name, 500)[:, :2]
        return float(np.linalg.norm(points - self.object_position(name)[:2], axis=1).max())

    @property
    def held_object(self) -> str | None:
        """What both fingers touch."""
        fingers = [self.model.body(f"gripper0_{side}finger").id for side in ("left", "right")]
        touched = [self._touching(finger) for finger in fingers]
        roots = {name: self._environment.obj_body_id[name] for name in self.object_names}
        held = (
            name
            for name, root in roots.items()
            if all(any(self._belongs(body, root) for body in bodies) for bodies in touched)
        )
        return next(held, None)

    def is_supported(self, name: str) -> bool:
        """Whether an object touches anything but the robot."""
        robots = [self.model.body(body).id for body in ("robot0_base", "gripper0_right_gripper")]
        touched = self._touching(self._environment.obj_body_id[name])
        return any(not any(self._belongs(body, robot) for robot in robots) for body in touched)

    def _touching(self, root: int) -> set[int]:
        """Bodies in contact with what belongs to `root`."""
        pairs = [[int(self.model.geom_bodyid[geom]) for geom in pair] for pair in self.data.contact.geom]
        belongs = [[self._belongs(body, root) for body in pair] for pair in pairs]
        return {
            body
            for pair, inside in zip(pairs, belongs, strict=True)
            if sum(inside) == 1
            for body, is_own in zip(pair, inside, strict=True)
            if not is_own
        }

    def penetration(self, name: str) -> float:
        """Meters that an object is inside of others, at the deepest of its contacts."""
        root = self._environment.obj_body_id[name]
        contacts = self.data.contact
        depths = [
            -contacts.dist[index]
            for index, geoms in enumerate(contacts.geom)
            if sum(self._belongs(self.model.geom_bodyid[geom], root) for geom in geoms) == 1
        ]
        return float(max(depths, default=0.0))

    def move_object(self, name: str, xy: Float[np.ndarray, "2"]) -> None:
        """Put an object's origin at `xy`, height and orientation kept, and recompute the kinematics."""
        mujoco = load_mujoco()
        joint = self.model.body_jntadr[self._environment.obj_body_id[name]]
        address = self.model.jnt_qposadr[joint]
        self.data.qpos[address : address + 2] = xy
        mujoco.mj_forward(self.model, self.data)

    def obstacle_points(self, name: str = "") -> Float[np.ndarray, "points 3"]:
        """Points on everything that a hand may bump into on its way to `name`, or to nothing: other objects as they look,
        fixtures as they collide."""
        clouds = [self.surface_points(other, 2000) for other in self.object_names if other != name]
        clouds += [self._points(fixture, _COLLISION_GROUP, 2000) for fixture in self.fixture_names]
        return np.concatenate([*clouds, np.zeros((0, 3))])

    def surface_points(self, name: str, max_points_per_mesh: int = 6000) -> Float[np.ndarray, "points 3"]:
        """Points on the visible surface of an object: mesh vertices, box and cylinder corners."""
        return self._points(name, _VISUAL_GROUP, max_points_per_mesh)

    def _points(self, name: str, group: int, max_points_per_mesh: int) -> Float[np.ndarray, "points 3"]:
        root = self._environment.obj_body_id[name]
        geoms = [
            geom
            for geom in range(self.model.ngeom)
            if self.model.geom_group[geom] == group and self._belongs(self.model.geom_bodyid[geom], root)
        ]
        return self._points_of(geoms, max_points_per_mesh)

    def _points_of(
        self, geoms: Iterable[int], max_points_per_mesh: int = 2000
    ) -> Float[np.ndarray, "points 3"]:
        mujoco = load_mujoco()
        clouds = []
        for geom in geoms:
            if self.model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_MESH:
                mesh = self.model.geom_dataid[geom]
                first, count = self.model.mesh_vertadr[mesh], self.model.mesh_vertnum[mesh]
                points = self.model.mesh_vert[first : first + count : max(1, count // max_points_per_mesh)]
            elif (
                self.model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_BOX
                and self.model.geom_group[geom] == _COLLISION_GROUP
            ):
                points = _box_surface(self.model.geom_size[geom])
            else:
                half = self.model.geom_size[geom].copy()
                if self.model.geom_type[geom] != mujoco.mjtGeom.mjGEOM_BOX:
                    half = np.array([half[0], half[0], half[1] or half[0]])
                points = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * half
            rotation = self.data.geom_xmat[geom].reshape(3, 3)
            clouds.append(points @ rotation.T + self.data.geom_xpos[geom])
        return np.concatenate(clouds) if clouds else np.zeros((0, 3))

    def _belongs(self, body: int, root: int) -> bool:
        while body not in (0, root):
            body = self._parents[body]
        return body == root


def _box_surface(half: Float[np.ndarray, "3"], spacing: float = 0.008) -> Float[np.ndarray, "points 3"]:
    """Points on the faces of a box, at most `spacing` meters apart, so that nothing thin slips between them."""
    steps = [np.linspace(-1, 1, max(2, 1 + int(np.ceil(2 * length / spacing)))) for length in half]
    grid = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1).reshape(-1, 3)
    return grid[(np.abs(grid) == 1).any(axis=1)] * half
