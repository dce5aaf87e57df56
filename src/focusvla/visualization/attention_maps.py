"""Where the policy looks: attention weights of each policy layer, and pictures of them.

The layers are looked at through taps (`focusvla.model.taps`) while the policy answers as it always does. A dropped patch
weighs exactly 0, so the kept ones are those that weigh more.

Legend: L layers, H heads, Q queries (action steps), P patches, C cameras, S streams.
"""

import math
from dataclasses import dataclass

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Float32, UInt8

from focusvla.data.crops import crop_center, stretch_center
from focusvla.errors import ConfigurationError
from focusvla.model.taps import attending_layers, recorded_layers
from focusvla.policy import FocusVLAPolicy
from focusvla_client import Observation

_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
_DROPPED_BRIGHTNESS = 0.22
"""Of the gray picture that a patch fades to when nothing keeps it."""


@dataclass(frozen=True)
class FocusMaps:
    """The vision attention behind one answer of the policy."""

    cameras: tuple[str, ...]
    """In the order in which their patches follow each other."""
    weights: Float32[np.ndarray, "layers heads queries patches"]
    """Each row sums to 1, also where a mixed layer shares its attention between patches and other streams."""
    seen_area: float = 1.0
    """Share of each picture's area, in its middle, that the patches cover: the rest is cropped before the encoder."""

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of each camera's patches, a square."""
        side = math.isqrt(self.weights.shape[3] // len(self.cameras))
        return side, side

    def seen(self, picture: UInt8[np.ndarray, "height width 3"]) -> UInt8[np.ndarray, "height width 3"]:
        """The part of a camera's picture that the patches cover, at the picture's size."""
        return crop_center(torch.from_numpy(np.array(picture)[None]), self.seen_area)[0].numpy()

    def seen_share(
        self, masks: Bool[np.ndarray, "regions height width"]
    ) -> Float32[np.ndarray, "regions height width"]:
        """The part of masks over a camera's picture that the patches cover: how much of each pixel is marked."""
        marked = torch.from_numpy(np.ascontiguousarray(masks, np.float32))
        if self.seen_area != 1:
            marked = stretch_center(marked[..., None], self.seen_area)[..., 0]
        return marked.numpy()

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

    def attention_mass(
        self, camera: str, layer: int | None = None, head: int | None = None
    ) -> Float[np.ndarray, "rows columns"]:
        """For each patch of `camera`, its mean attention, in one layer or in all and of one head or of all; the sum over
        all cameras is 1."""
        return self._grid(self.weights if head is None else self.weights[:, head, None], camera, layer)

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
        return per_camera[self.cameras.index(camera)].reshape(self.grid)


@dataclass(frozen=True)
class Look:
    """What was behind one answer of the policy; means over its action steps."""

    maps: FocusMaps
    contributions: Float32[np.ndarray, "layers streams"]
    """Share of `self`, `action_query` and `vision` in what attention adds, see `taps.LayerRecord`."""
    weight_shares: Float32[np.ndarray, "layers streams"] | None
    """Their shares of the one softmax that mixed layers have, in the mean over heads."""
    gate: Float32[np.ndarray, "layers heads"] | None
    """The vision gate of each head's channels; None without one."""


def require_looking(policy: FocusVLAPolicy) -> None:
    """Raise unless `policy` has vision attention to look into.

    Raises:
        ConfigurationError: it sees nothing, or its head does not attend.
    """
    if not policy.cameras:
        raise ConfigurationError(
            "policy: expected one that sees, got vision.encoder='none'. A vision-blind policy attends to no patches."
        )
    attending_layers(policy.model)


def look_into(policy: FocusVLAPolicy, observation: Observation) -> Look:
    """Let `policy` answer `observation` and return what was behind it.

    Raises:
        ConfigurationError: as `require_looking`, or the observation does not fit the policy.
    """
    require_looking(policy)
    with recorded_layers(policy.model) as layers:
        policy.infer(observation)

    def stacked(values: list[torch.Tensor]) -> np.ndarray:
        return torch.cat(values).cpu().numpy()  # a batch of one per layer

    shares = [layer.weight_shares.mean(dim=(1, 2)) for layer in layers if layer.weight_shares is not None]
    gates = [layer.gate.mean(dim=1) for layer in layers if layer.gate is not None]
    return Look(
        maps=FocusMaps(
            tuple(policy.cameras),
            _at_patches(policy, stacked([layer.vision_weights for layer in layers])),
            policy.experiment.model.pictures.center_crop_area,
        ),
        contributions=stacked([layer.contributions.mean(dim=1) for layer in layers]),
        weight_shares=stacked(shares) if shares else None,
        gate=stacked(gates) if gates else None,
    )


def _at_patches(
    policy: FocusVLAPolicy, weights: Float32[np.ndarray, "layers heads queries patches"]
) -> Float32[np.ndarray, "layers heads queries patches"]:
    """Weights of the patches. A policy that is aligned as VLA-Adapter's attends to the token before them in place of the
    last one, which no patch is meant by."""
    if policy.experiment.model.alignment == "exact":
        return weights
    weights = np.concatenate([weights[..., 1:], np.zeros_like(weights[..., :1])], axis=-1)
    total = weights.sum(axis=-1, keepdims=True)
    return weights / np.where(total > 0, total, 1)


def capture_focus(policy: FocusVLAPolicy, observation: Observation) -> FocusMaps:
    """Let `policy` answer `observation` and return what it attended to.

    Raises:
        ConfigurationError: as `look_into`.
    """
    return look_into(policy, observation).maps


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
