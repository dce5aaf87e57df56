"""An environment as a protocol presents it to a policy: some draw pictures at one size and send them at another."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from focusvla.simulation.environment import SimulatedEnvironment, only_environment
from focusvla.suites import Protocol
from focusvla_client import Observation, Spec


def environment_of(rules: Protocol, suite: str, task: int, policy: Spec) -> SimulatedEnvironment:
    """This process's one environment, showing a policy what the protocol does, at the size that the policy expects.

    Raises:
        SpecMismatchError: the policy is for another environment.
    """
    return presented(only_environment(suite, task, drawn_size(rules, policy)), rules, policy)


def drawn_size(rules: Protocol, policy: Spec) -> int:
    """Side in pixels of the pictures that the simulator draws for a policy."""
    return rules.drawn_size or policy.cameras[0].height


def shows_as_drawn(rules: Protocol, policy: Spec, size: int) -> bool:
    """Whether a policy sees pictures of `size` pixels a side as the simulator draws them."""
    return {drawn_size(rules, policy), rules.sent_size or size, policy.cameras[0].height} == {size}


def presented(environment: SimulatedEnvironment, rules: Protocol, policy: Spec) -> SimulatedEnvironment:
    """`environment`, whose pictures have the size that is drawn, as the protocol shows it to a policy.

    Raises:
        SpecMismatchError: the policy is for another environment.
    """
    size = policy.cameras[0].height
    cameras = tuple(replace(camera, height=size, width=size) for camera in environment.spec.cameras)
    shown = replace(environment.spec, cameras=cameras)
    policy.require_equal(shown, "the policy", "the environment")
    if shows_as_drawn(rules, policy, size) and rules.gripper == "sign":
        return environment
    wrapped: Any = PresentedEnvironment(environment, shown, rules)
    return wrapped


class PresentedEnvironment:
    """An environment whose pictures are resized by Pillow's bilinear filter as openpi's client does, and then to the
    policy's size as in training."""

    def __init__(self, environment: Any, spec: Spec, rules: Protocol):
        """Present `environment` by `rules`, with the cameras' sizes of `spec`."""
        self._environment = environment
        self.spec = spec
        self._rules = rules

    def __getattr__(self, name: str) -> Any:
        return getattr(self._environment, name)

    def apply(self, action: Float[np.ndarray, " action"]) -> None:
        """As the environment's."""
        if self._rules.gripper == "binarized":
            action = np.array([*action[:6], -1.0 if action[6] < 0 else 1.0])
        self._environment.apply(action)

    def observe(self, cameras: Sequence[str]) -> Observation:
        """As the environment's."""
        seen = self._environment.observe(cameras)
        return replace(seen, images={name: self._resized(image) for name, image in seen.images.items()})

    def replay_images(self, snapshot: Float[np.ndarray, " joints"]) -> dict[str, np.ndarray]:
        """As the environment's."""
        images = self._environment.replay_images(snapshot)
        return {name: self._resized(image) for name, image in images.items()}

    def replay_regions(
        self, snapshot: Float[np.ndarray, " joints"]
    ) -> dict[str, Bool[np.ndarray, "regions size size"]] | None:
        """As the environment's: where things are in what the policy sees, by the nearest pixel."""
        found, size = self._environment.replay_regions(snapshot), self.spec.cameras[0].height
        if found is None:
            return None
        drawn = next(iter(found.values())).shape[-1]
        places = ((np.arange(size) + 0.5) * drawn / size).astype(int)
        return {name: regions[:, places][:, :, places] for name, regions in found.items()}

    def _resized(self, image: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "size size 3"]:
        from focusvla.data.transforms import (
            resize_picture,
        )  # with torch, which other protocols do not load here

        sent = self._rules.sent_size
        if sent:
            image = np.asarray(Image.fromarray(image).resize((sent, sent), Image.Resampling.BILINEAR))
        return resize_picture(image, self.spec.cameras[0].height)
