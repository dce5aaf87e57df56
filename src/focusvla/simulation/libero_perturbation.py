"""What LIBERO-Plus changes in a scene without new assets: from where the camera looks, and noise in its pictures.

As https://github.com/sylvestf/LIBERO-plus (arXiv:2510.13626) has it, its `env_wrapper.py` and `problems/`: the same
pictures for the same random numbers. It draws these from the generator that objects are placed with, anew whenever the
simulator steps; here each episode has a generator of its own and draws when the policy looks.
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, UInt8

from focusvla.errors import ConfigurationError
from focusvla.suites import PERTURBED_SIZE

Picture = UInt8[np.ndarray, "height width 3"]

_PIVOT = np.array([0.0, 0.0, 0.8])
"""About which the camera is turned, in meters."""
_DIGITS = 4

_MOTION = ((5, 2), (8, 3), (10, 4), (12, 5), (15, 6), (18, 8), (20, 10), (25, 12), (30, 15), (35, 20))
"""Radius and standard deviation in pixels."""
_ZOOM = (
    (1.11, 0.01),
    (1.16, 0.01),
    (1.21, 0.02),
    (1.26, 0.02),
    (1.31, 0.03),
    (1.36, 0.01),
    (1.41, 0.01),
    (1.46, 0.02),
    (1.51, 0.02),
    (1.56, 0.03),
)
"""Up to which factor, in which steps."""
_FOG = (
    (0.5, 3.0),
    (1.0, 2.8),
    (1.5, 2.5),
    (2.0, 2.2),
    (2.5, 2.0),
    (3.0, 1.8),
    (3.5, 1.6),
    (4.0, 1.5),
    (4.5, 1.4),
    (5.0, 1.3),
)
"""How thick, and how much finer structure is fainter."""
_GLASS = (
    (0.5, 1, 3),
    (0.7, 1, 3),
    (0.9, 2, 3),
    (1.0, 2, 2),
    (1.1, 3, 2),
    (1.3, 3, 2),
    (1.5, 4, 2),
    (1.8, 4, 2),
    (2.2, 5, 1),
    (2.5, 5, 1),
)
"""Standard deviation and distance in pixels, and how often."""
_SHUFFLED = 224
"""Glass leaves the rows and columns from here on in their places."""


def aim_camera(
    position: Float[np.ndarray, "3"],
    quaternion: Float[np.ndarray, "4"],
    camera: tuple[int, int, int, int, int],
) -> tuple[Float[np.ndarray, "3"], Float[np.ndarray, "4"]]:
    """Where a camera is and looks (w, x, y, z) after it was moved as `Perturbation.camera` says. Even one that is not
    moved is rounded to four digits."""
    from scipy.spatial.transform import Rotation

    around, up, percent, turned, tilted = camera

    def turn(axis: str, degrees: int) -> tuple[Rotation, Float[np.ndarray, "4"]]:
        rotation = Rotation.from_euler(axis, degrees, degrees=True)
        whole = rotation * Rotation.from_quat(quaternion, scalar_first=True)
        return rotation, _rounded(whole.as_quat(scalar_first=True))

    if up:
        rotation, quaternion = turn("y", -up)
        position = _rounded(rotation.apply(position - _PIVOT) + _PIVOT)
    rotation, quaternion = turn("z", around)
    position = _rounded(rotation.apply(position))
    if percent != 100:
        position = _rounded(_PIVOT + (position - _PIVOT) * (percent / 100))
    if turned:
        _, quaternion = turn("z", turned)
    if tilted:
        _, quaternion = turn("y", -tilted)
    return position, quaternion / np.linalg.norm(quaternion)


def _rounded(numbers: np.ndarray) -> np.ndarray:
    """As Python rounds, which numpy does not always."""
    return np.array([round(float(number), _DIGITS) for number in numbers])


def make_noise(kind: int, seed: int) -> Callable[[Picture], Picture]:
    """What does to pictures, first row at the bottom, what `Perturbation.picture_noise` says; the same to those of
    the same `seed`.

    Raises:
        ConfigurationError: no such kind; or, from what is returned, pictures that are not squares of
            `PERTURBED_SIZE` pixels.
    """
    if not kind:
        return lambda pixels: pixels
    if not 0 < kind <= 10 * len(_KINDS):
        raise ConfigurationError(f"picture_noise={kind}: expected 0 to {10 * len(_KINDS)}.")
    rng = np.random.default_rng((seed, kind))
    noise, severity = _KINDS[(kind - 1) // 10], (kind - 1) % 10

    def noisy(pixels: Picture) -> Picture:
        if pixels.shape[:2] != (PERTURBED_SIZE, PERTURBED_SIZE):
            raise ConfigurationError(
                f"picture_noise={kind}: expected pictures of {PERTURBED_SIZE} pixels a side, which it is described for, "
                f"got {pixels.shape[0]} x {pixels.shape[1]}."
            )
        return noise(pixels, severity, rng)

    return noisy


def _motion_blur(pixels: Picture, severity: int, rng: np.random.Generator) -> Picture:
    """ImageMagick's: each pixel is the weighted mean of those behind it along a line."""
    radius, sigma = _MOTION[severity]
    angle = math.radians(rng.uniform(-45, 45))
    places = np.arange(2 * radius + 1)
    weights = np.exp(-(places**2) / (2 * sigma**2))
    weights /= weights.sum()
    across, down = (np.ceil(places * part(angle) - 0.5).astype(int) for part in (math.cos, math.sin))
    edge = 2 * radius + 1
    padded = np.pad(pixels, ((edge, edge), (edge, edge), (0, 0)), mode="edge").astype(np.float64)
    height, width = pixels.shape[:2]
    blurred = np.zeros(pixels.shape)
    for weight, x, y in zip(weights, across, down, strict=True):
        blurred += weight * padded[edge + y : edge + y + height, edge + x : edge + x + width]
    return ((257 * blurred + 0.5).astype(int) // 257).astype(np.uint8)  # 16 bits, of which 8 are written


def _gaussian_blur(pixels: Picture, severity: int, rng: np.random.Generator) -> Picture:
    return _to_bytes(_blurred(pixels / 255.0, severity + 1.0))


def _zoom_blur(pixels: Picture, severity: int, rng: np.random.Generator) -> Picture:
    """The mean of the picture and of its middle, ever closer."""
    end, step = _ZOOM[severity]
    sharp = (pixels / 255.0).astype(np.float32)
    factors = np.arange(1, end, step)
    total = np.zeros_like(sharp)
    for factor in factors:
        total += _closer(sharp, factor)
    return _to_bytes((sharp + total) / (len(factors) + 1))


def _closer(picture: np.ndarray, factor: float) -> np.ndarray:
    from scipy.ndimage import zoom

    side = len(picture)
    shown = math.ceil(side / factor)
    first = (side - shown) // 2
    middle = picture[first : first + shown, first : first + shown]
    large = np.asarray(zoom(middle, (factor, factor, 1), order=1))
    first = (len(large) - side) // 2
    return large[first : first + side, first : first + side]


def _fog(pixels: Picture, severity: int, rng: np.random.Generator) -> Picture:
    thickness, decay = _FOG[severity]
    picture = pixels / 255.0
    brightest = picture.max()
    clouds = _plasma(len(pixels), decay, rng)[..., np.newaxis]
    return _to_bytes((picture + thickness * clouds) * brightest / (brightest + thickness))


def _plasma(side: int, decay: float, rng: np.random.Generator) -> np.ndarray:
    """Clouds in 0 to 1 that repeat at their edges, drawn by the diamond-square algorithm; `side` is a power of two."""
    clouds, wobble, step = np.zeros((side, side)), 100.0, side

    def around(total: np.ndarray) -> np.ndarray:
        return total / 4 + wobble * rng.uniform(-wobble, wobble, total.shape)

    while step >= 2:
        half = step // 2
        corners = clouds[::step, ::step]
        total = corners + np.roll(corners, -1, 0)
        clouds[half::step, half::step] = around(total + np.roll(total, -1, 1))
        middles = clouds[half::step, half::step]
        beside = corners + np.roll(corners, -1, 1)
        clouds[::step, half::step] = around(middles + np.roll(middles, 1, 0) + beside)
        above = corners + np.roll(corners, -1, 0)
        clouds[half::step, ::step] = around(middles + np.roll(middles, 1, 1) + above)
        step, wobble = half, wobble / decay
    clouds -= clouds.min()
    return clouds / clouds.max()


def _glass(pixels: Picture, severity: int, rng: np.random.Generator) -> Picture:
    """Blurred, then each pixel is what one near it was, then blurred again."""
    from focusvla.simulation.stepping_kernels import take_neighbors

    sigma, distance, repeats = _GLASS[severity]
    picture = (_blurred(pixels / 255.0, sigma) * 255).astype(np.uint8)
    side = _SHUFFLED - 2 * distance
    for _ in range(repeats):
        take_neighbors(picture, rng.integers(-distance, distance, (side, side, 2)), distance)
    return _to_bytes(_blurred(picture / 255.0, sigma))


def _blurred(picture: np.ndarray, sigma: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(picture, (sigma, sigma, 0), mode="nearest"))


def _to_bytes(picture: np.ndarray) -> Picture:
    return (np.clip(picture, 0, 1) * 255).astype(np.uint8)


_KINDS = (_motion_blur, _gaussian_blur, _zoom_blur, _fog, _glass)
