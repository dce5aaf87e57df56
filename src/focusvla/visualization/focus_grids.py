"""A policy's attention along an episode, small enough to lie inside a page.

Attention and kept patches are averaged over action steps and rounded to 256 values: enough for a picture, not for a
measurement.

Legend: N inferences, L layers, H heads, Q queries (action steps), P patches.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt8

from focusvla.policy import FocusVLAPolicy
from focusvla.visualization.attention_maps import FocusMaps, capture_focus
from focusvla_client import Observation

MAX_BYTES = 2_000_000
"""Of an episode's grids. Of a policy that needs more, evenly spaced layers are left out, never the last."""


@dataclass(frozen=True)
class FocusGrids:
    """Of one episode, per inference, layer and head; index 0 of layers and of heads is the mean over all of them."""

    cameras: tuple[str, ...]
    """In the order in which their patches follow each other."""
    rows: int
    columns: int
    """Of each camera's patches."""
    seen_side: float
    """Share of each side of a picture, in its middle, that the patches cover."""
    layers: tuple[int, ...]
    """Numbers of the layers that are here, from 1 on."""
    attention: UInt8[np.ndarray, "inferences layers heads patches"]
    """In units of 1/255 of the greatest in its row, so that all cameras share a scale."""
    kept: UInt8[np.ndarray, "inferences layers heads patches"]
    """Share of the action steps (and heads, and layers) that kept a patch, in units of 1/255."""

    def of_camera(
        self, values: UInt8[np.ndarray, "inferences layers heads patches"], camera: str
    ) -> UInt8[np.ndarray, "inferences layers heads rows columns"]:
        """The part of `attention` or `kept` that lies on `camera`."""
        begin = self.cameras.index(camera) * self.rows * self.columns
        part = values[..., begin : begin + self.rows * self.columns]
        return part.reshape(*part.shape[:-1], self.rows, self.columns)


def capture_grids(
    policy: FocusVLAPolicy, observations: Sequence[Observation], on_inference: Callable[[], None]
) -> FocusGrids:
    """Let `policy` answer `observations` and return what it attended to, calling `on_inference` after each.

    Raises:
        ConfigurationError: the policy attends to no patches, or the observations do not fit it.
    """
    captured: list[FocusMaps] = []
    for observation in observations:
        captured.append(capture_focus(policy, observation))
        on_inference()
    first = captured[0]
    num_layers, num_heads, _, num_patches = first.weights.shape
    layers = choose_layers(num_layers, 2 * len(captured) * (num_heads + 1) * num_patches)
    attention = [_with_means(maps.weights.mean(axis=2), layers) for maps in captured]
    kept = [_with_means(maps.kept.mean(axis=2), layers) for maps in captured]
    rows, columns = first.kept_share(first.cameras[0]).shape
    return FocusGrids(
        cameras=first.cameras,
        rows=rows,
        columns=columns,
        seen_side=first.seen_area**0.5,
        layers=tuple(layer + 1 for layer in layers),
        attention=np.stack([_quantize(values, values.max(axis=-1, keepdims=True)) for values in attention]),
        kept=np.stack([_quantize(values, np.ones(1)) for values in kept]),
    )


def choose_layers(num_layers: int, bytes_per_layer: int) -> list[int]:
    """Evenly spaced indices of layers, the last one among them, of which as many as fit beside their mean.

    Of 24 layers with room for 4: [5, 11, 17, 23].
    """
    num_chosen = min(num_layers, max(1, MAX_BYTES // bytes_per_layer - 1))
    return [(index + 1) * num_layers // num_chosen - 1 for index in range(num_chosen)]


def _with_means(
    values: Float[np.ndarray, "layers heads patches"], layers: Sequence[int]
) -> Float[np.ndarray, "means_and_chosen mean_and_heads patches"]:
    """The means over layers and over heads before the values themselves; of the layers the chosen ones only."""
    with_mean = np.concatenate([values.mean(axis=0, keepdims=True), values[list(layers)]])
    return np.concatenate([with_mean.mean(axis=1, keepdims=True), with_mean], axis=1)


def _quantize(
    values: Float[np.ndarray, "layers heads patches"], largest: Float[np.ndarray, "..."]
) -> UInt8[np.ndarray, "layers heads patches"]:
    return np.round(255 * values / np.where(largest > 0, largest, 1)).astype(np.uint8)
