"""How focused a policy's vision attention is, as numbers.

Legend: L layers, H heads, Q queries (action steps), P patches, R regions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float

from focusvla.suites import REGIONS
from focusvla.visualization.attention_maps import FocusMaps, Look

Regions = Mapping[str, Bool[np.ndarray, "regions height width"]]
"""For each camera which pixels show the object, the target and the gripper, in the order of `REGIONS`."""


@dataclass(frozen=True)
class RegionShares:
    """What of the vision attention lies on the regions; a patch half of whose pixels show one counts as half of it."""

    attention: Float[np.ndarray, "layers regions"]
    """Share of its mass, in the mean over heads and action steps."""
    kept: Float[np.ndarray, "layers regions"]
    """Share of the patches that are kept."""
    retained: Float[np.ndarray, "layers regions"]
    """Share of a region's pixels that lie in kept patches; NaN of a region that no camera sees."""
    chance: Float[np.ndarray, " regions"]
    """Share of all pixels that the policy sees: what attention and kept patches would have on it without choosing."""


@dataclass(frozen=True)
class FrameFocus:
    """The numbers of one look."""

    entropy: Float[np.ndarray, " layers"]
    """Of a row of the vision attention, in bits and in the mean over heads and action steps: 0 is a single patch, 7 are
    128 patches alike."""
    camera_shares: Float[np.ndarray, "layers cameras"]
    """Of the vision attention."""
    contributions: Float[np.ndarray, "layers streams"]
    weight_shares: Float[np.ndarray, "layers streams"] | None
    gate: Float[np.ndarray, "layers heads"] | None
    kept_patches: Float[np.ndarray, " layers"]
    """Of a head and action step, in the mean."""
    regions: RegionShares | None
    """None where nothing tells where they are."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, regions by name."""
        values: dict[str, Any] = {
            name: None if value is None else _rounded(value)
            for name, value in vars(self).items()
            if name != "regions"
        }
        if self.regions is not None:
            values |= {
                f"{name}_on": {region: _rounded(found[..., place]) for place, region in enumerate(REGIONS)}
                for name, found in vars(self.regions).items()
            }
        return values


def measure(look: Look, regions: Regions | None) -> FrameFocus:
    """The numbers of a look, and those about `regions` where they are known."""
    maps = look.maps
    cameras = maps.weights.mean(axis=(1, 2)).reshape(len(maps.weights), len(maps.cameras), -1).sum(axis=2)
    return FrameFocus(
        entropy=entropy_bits(maps.weights).mean(axis=(1, 2)),
        camera_shares=cameras,
        contributions=look.contributions,
        weight_shares=look.weight_shares,
        gate=look.gate,
        kept_patches=maps.kept.sum(axis=3).mean(axis=(1, 2)),
        regions=None if regions is None else region_shares(maps, regions),
    )


def entropy_bits(weights: Float[np.ndarray, "*rows patches"]) -> Float[np.ndarray, "*rows"]:
    """Shannon entropy of each row in bits: [0.5, 0.25, 0.25, 0] has 1.5."""
    logarithms = np.log2(weights, where=weights > 0, out=np.zeros_like(weights))
    return -(weights * logarithms).sum(axis=-1)


def region_shares(maps: FocusMaps, regions: Regions) -> RegionShares:
    """Shares of attention and of kept patches that lie on each region.

    One camera of two patches, the first weighing 0.8 and alone kept, half of it showing the object and the other none of
    it: attention 0.4, kept 0.5, retained 1, chance 0.25.
    """
    covered = np.concatenate(
        [patch_coverage(maps.seen_share(regions[camera]), maps.grid) for camera in maps.cameras], axis=1
    )
    weights = maps.weights.mean(axis=(1, 2))
    kept = maps.kept.mean(axis=(1, 2))
    with np.errstate(invalid="ignore"):
        retained = kept @ covered.T / covered.sum(axis=1)
    return RegionShares(
        attention=weights @ covered.T,
        kept=kept @ covered.T / kept.sum(axis=1, keepdims=True),
        retained=retained,
        chance=covered.mean(axis=1),
    )


def patch_coverage(
    masks: Bool[np.ndarray, "regions height width"] | Float[np.ndarray, "regions height width"],
    grid: tuple[int, int],
) -> Float[np.ndarray, "regions patches"]:
    """Share of each patch's pixels that are marked, wholly or by a share, patches row by row."""
    pixels = torch.from_numpy(np.ascontiguousarray(masks, np.float32))
    return F.adaptive_avg_pool2d(pixels, grid).flatten(1).numpy()


def _rounded(values: Float[np.ndarray, "..."]) -> Any:
    """As lists, NaN as null: JSON has no such number."""
    return np.where(np.isnan(values), None, values.astype(np.float64).round(5)).tolist()  # type: ignore[arg-type]
