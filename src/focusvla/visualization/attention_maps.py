"""Where the policy looks: attention weights of each policy layer, and pictures of them.

The weights pass through a named identity in each layer, on which a forward hook looks on while the policy answers as it
always does. A dropped patch weighs exactly 0 there, so the kept ones are those that weigh more.

Legend: L layers, H heads, Q queries (action steps), P patches, C cameras.
"""

import math
from dataclasses import dataclass

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Float32, UInt8
from torch import Tensor, nn

from focusvla.errors import ConfigurationError
from focusvla.policy import FocusVLAPolicy
from focusvla_client import Observation

TAP_NAME = "attention_weights"
"""What a policy layer calls the identity that its vision attention passes through."""

_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
_DROPPED_BRIGHTNESS = 0.22
"""Of the gray picture that a patch fades to when nothing keeps it."""


@dataclass(frozen=True)
class FocusMaps:
    """The vision attention behind one answer of the policy."""

    cameras: tuple[str, ...]
    """In the order in which their patches follow each other."""
    weights: Float32[np.ndarray, "layers heads queries patches"]
    """Each row sums to 1."""

    @property
    def kept(self) -> Bool[np.ndarray, "layers heads queries patches"]:
        """Which patches each head and action step kept; one whose weight is too small for 32 bits counts as dropped."""
        return self.weights > 0

    def kept_share(self, camera: str, layer: int | None = None) -> Float[np.ndarray, "rows columns"]:
        """For each patch of `camera`, the share of heads and action steps that kept it, in one layer or in all.

        With one layer, two heads and one action step that keep [1, 1, 0, 0] and [1, 0, 0, 1], a camera of these four
        patches has [[1.0, 0.5], [0.0, 0.5]].
        """
        return self._grid(self.kept, camera, layer)

    def attention_mass(self, camera: str, layer: int | None = None) -> Float[np.ndarray, "rows columns"]:
        """For each patch of `camera`, its mean attention, in one layer or in all; the sum over all cameras is 1."""
        return self._grid(self.weights, camera, layer)

    def _grid(
        self,
        values: Float[np.ndarray, "layers heads queries patches"]
        | Bool[np.ndarray, "layers heads queries patches"],
        camera: str,
        layer: int | None,
    ) -> Float[np.ndarray, "rows columns"]:
        chosen = values if layer is None else values[layer][None]
        per_patch = chosen.mean(axis=(0, 1, 2), dtype=np.float64)
        per_camera = rearrange(per_patch, "(C P) -> C P", C=len(self.cameras))
        side = math.isqrt(per_camera.shape[1])
        return rearrange(per_camera[self.cameras.index(camera)], "(row column) -> row column", row=side)


def capture_focus(policy: FocusVLAPolicy, observation: Observation) -> FocusMaps:
    """Let `policy` answer `observation` and return what it attended to.

    Raises:
        ConfigurationError: the policy sees nothing, or the observation does not fit it.
    """
    if not policy.cameras:
        raise ConfigurationError(
            "policy: expected one that sees, got vision.encoder='none'. A vision-blind policy attends to no patches."
        )
    seen: list[Float[Tensor, "batch heads queries patches"]] = []

    def look(module: nn.Module, arguments: tuple[Tensor, ...], weights: Tensor) -> None:
        seen.append(weights)

    taps = [module for name, module in policy.model.named_modules() if name.split(".")[-1] == TAP_NAME]
    hooks = [tap.register_forward_hook(look) for tap in taps]
    try:
        policy.infer(observation)
    finally:
        for hook in hooks:
            hook.remove()
    weights = torch.cat(seen).float().cpu().numpy()  # a batch of one per layer: L H Q P
    return FocusMaps(cameras=tuple(policy.cameras), weights=weights)


def draw_kept_patches(
    image: UInt8[np.ndarray, "height width 3"], kept_share: Float[np.ndarray, "rows columns"], size: int = 256
) -> UInt8[np.ndarray, "size size 3"]:
    """The image, enlarged, with each patch the darker and grayer the fewer kept it.

    A share of 1 leaves a patch as it is, 0 leaves a dark gray trace of it.
    """
    picture = enlarge(image, size).astype(np.float32)
    share = _stretch(kept_share, size, mode="nearest-exact")
    trace = _gray(picture) * _DROPPED_BRIGHTNESS
    return _to_pixels(share * picture + (1 - share) * trace)


def draw_attention_heat(
    image: UInt8[np.ndarray, "height width 3"],
    mass: Float[np.ndarray, "rows columns"],
    brightest: float,
    size: int = 256,
) -> UInt8[np.ndarray, "size size 3"]:
    """The image, enlarged and gray, under a heat map of the attention mass.

    `brightest` is the mass that gets the map's last color; take the largest of all cameras to compare them.
    """
    heat = _stretch(mass / brightest if brightest > 0 else mass, size, mode="bilinear").clip(0, 1)
    colors = 255 * matplotlib.colormaps["inferno"](heat[..., 0])[..., :3].astype(np.float32)
    opacity = 0.25 + 0.65 * heat
    return _to_pixels(opacity * colors + (1 - opacity) * 0.7 * _gray(enlarge(image, size).astype(np.float32)))


def enlarge(image: UInt8[np.ndarray, "height width 3"], size: int) -> UInt8[np.ndarray, "size size 3"]:
    """The image at `size` pixels a side."""
    return _to_pixels(_resize(image.astype(np.float32), size, mode="bilinear"))


def _stretch(
    values: Float[np.ndarray, "rows columns"], size: int, mode: str
) -> Float[np.ndarray, "size size 1"]:
    return _resize(values.astype(np.float32)[..., None], size, mode)


def _resize(
    picture: Float[np.ndarray, "height width channels"], size: int, mode: str
) -> Float[np.ndarray, "size size channels"]:
    tensor = rearrange(torch.from_numpy(picture), "h w c -> 1 c h w")
    return rearrange(F.interpolate(tensor, (size, size), mode=mode), "1 c h w -> h w c").numpy()


def _gray(picture: Float[np.ndarray, "height width 3"]) -> Float[np.ndarray, "height width 1"]:
    return (picture @ _LUMINANCE)[..., None]


def _to_pixels(picture: Float[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
    return picture.round().clip(0, 255).astype(np.uint8)
