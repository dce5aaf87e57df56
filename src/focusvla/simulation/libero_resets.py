"""The benchmark's resets, drawn as published evaluations draw them, in a scene that is built once.

A reset draws where fixtures and objects stand from numpy's global generator. The published loops seed it once for a task
and reset before each trial, so that fixtures stand elsewhere in each trial; objects are then put where the trial's init
state has them. Their reset also rebuilds the scene, which keeps the samplers of drawers and knobs of all scenes before:
the n-th scene draws n times for each, and everything drawn after them depends on n.
"""

from typing import Any

import numpy as np

from focusvla.simulation.libero_scene import LiberoScene


class BenchmarkResets:
    """Resets of one environment, as if it had been reset any number of times before."""

    def __init__(self, environment: Any, scene: LiberoScene):
        """Reset `environment`, robosuite's own, whose model is that of `scene`."""
        self._environment = environment
        self._scene = scene
        self._samplers = list(environment.object_property_initializers)
        self._loop: tuple[int, int] | None = None
        self._before: list[tuple[Any, int]] = []
        """Of the last loop, before each of its resets: the generator's state, and how many scenes were built."""

    def reset(self, seed: int, resets_before: int = 0, scenes_before: int = 0) -> None:
        """Draw what a loop that is seeded with `seed` draws after so many resets. Numpy's global generator is left as it
        was.

        `scenes_before` were built before its first reset, and each reset builds one more; 0 is a loop that builds none.
        """
        kept = np.random.get_state()  # noqa: NPY002 - robosuite draws from numpy's global generator
        try:
            if self._loop != (seed, scenes_before):
                np.random.seed(seed % 2**32)  # noqa: NPY002
                self._loop, self._before = (seed, scenes_before), [(np.random.get_state(), scenes_before)]  # noqa: NPY002
            # Resets of trials that are not played are drawn all the same, in 10 to 20 ms each.
            for done in range(min(resets_before, len(self._before) - 1), resets_before + 1):
                state, num_scenes = self._before[done]
                np.random.set_state(state)  # noqa: NPY002
                num_scenes = self._reset(num_scenes)
                if len(self._before) == done + 1:
                    self._before.append((np.random.get_state(), num_scenes))  # noqa: NPY002
        finally:
            np.random.set_state(kept)  # noqa: NPY002

    def _reset(self, num_scenes: int) -> int:
        """Reset after so many scenes; returns how many there are when all objects have found a place."""
        from robosuite.utils.errors import RandomizationError

        rebuilds = num_scenes > 0
        while True:
            num_scenes += rebuilds
            self._environment.object_property_initializers = self._samplers * max(num_scenes, 1)
            self._unplace_fixtures()
            try:
                self._environment.reset()
                return num_scenes
            except RandomizationError:  # the benchmark's wrapper resets again
                continue

    def _unplace_fixtures(self) -> None:
        """Put cabinets and stoves where the scene's file has them.

        A reset reads where "in the drawer" is from the model and adds the place that it draws for the cabinet; without
        this, the place drawn by the reset before would be added as well.
        """
        model = self._scene.model
        for fixture in self._environment.fixtures_dict.values():
            body = model.body(fixture.root_body).id
            element = self._environment.model.worldbody.find(f".//body[@name='{fixture.root_body}']")
            for values, attribute, default in (
                (model.body_pos, "pos", "0 0 0"),
                (model.body_quat, "quat", "1 0 0 0"),
            ):
                values[body] = np.fromstring(element.get(attribute, default), sep=" ")
