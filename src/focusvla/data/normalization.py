"""Between physical units and the range that a network works in.

A dimension is mapped by its 1 % and 99 % quantiles, which a few outliers do not move:

    y = 2 (x - q01) / (q99 - q01) - 1

Departs from VLA-Adapter: the inverse is exact, without an epsilon; a constant dimension is 0 in training and inference
alike. Policies of its own authors are normalized as it does it: `normalization="vla_adapter"`. Where states are clipped
is `TrainingConfig.state_limit`, which travels with a checkpoint.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from focusvla.data.episodes import EpisodeSource
from focusvla.data.feature_statistics import FeatureStatistics, VectorStatistics
from focusvla.errors import ConfigurationError, DataError, require_known
from focusvla_client import Spec
from focusvla_client.spec import GRIPPER_OPEN_NEGATIVE

ACTION_LIMIT = 1.0
"""Training targets are clipped here."""
SMALLEST_RANGE = 1e-6
"""A dimension whose values are closer than this is taken as constant."""
TINY_RANGE = 1e-3
"""A millimeter or a milliradian: normalization makes the whole range of it, noise included."""
RARELY_MOVED = 100
"""Values that reach this many times as far as a tiny range from q01 to q99 are motion, and what lies within is rest."""
VLA_ADAPTER_MARGIN = 1e-8
"""What it adds to every range."""

Normalization = Literal["exact", "vla_adapter"]
"""See `ModelConfig.normalization`."""


@dataclass(frozen=True)
class Quantiles:
    """The range of each dimension of one vector."""

    q01: tuple[float, ...]
    q99: tuple[float, ...]

    def __post_init__(self):
        if len(self.q01) != len(self.q99):
            raise DataError(
                f"statistics: expected as many q01 as q99, got {len(self.q01)} and {len(self.q99)}. "
                "Compute them again with Statistics.from_source."
            )
        if not np.isfinite([*self.q01, *self.q99]).all() or any(
            low > high for low, high in zip(self.q01, self.q99, strict=True)
        ):
            raise DataError(
                f"statistics: expected finite q01 <= q99, got q01={self.q01}, q99={self.q99}. "
                "Compute them again with Statistics.from_source."
            )


@dataclass(frozen=True)
class Statistics:
    """What normalization has to know of a data set; a checkpoint carries it as `statistics.json`."""

    action: Quantiles
    state: Quantiles

    def to_dict(self) -> dict[str, dict[str, list[float]]]:
        """A JSON-ready dictionary; `from_dict` is its inverse."""
        return {
            name: {"q01": list(quantiles.q01), "q99": list(quantiles.q99)}
            for name, quantiles in (("action", self.action), ("state", self.state))
        }

    @classmethod
    def from_dict(cls, values: Any) -> "Statistics":
        """Read what `to_dict` wrote.

        Raises:
            DataError: an entry is missing or malformed.
        """
        try:
            read = {
                name: {bound: tuple(map(float, values[name][bound])) for bound in ("q01", "q99")}
                for name in ("action", "state")
            }
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"statistics: expected q01 and q99 of action and state, got {error!r} on reading. "
                "Compute them with Statistics.from_source."
            ) from error
        return cls(**{name: Quantiles(**bounds) for name, bounds in read.items()})

    @classmethod
    def from_source(cls, source: EpisodeSource) -> "Statistics":
        """Compute them from every step of a data set, one episode in memory at a time.

        Exact up to `quantile_sketch.CAPACITY` steps; beyond, a quantile's rank is wrong by 0.001 % of the steps at
        most, whatever the distribution. A dimension that rarely moves has the range that `answerable` gives it.
        """
        action, state = VectorStatistics(), VectorStatistics()
        for index in range(source.num_episodes):
            episode = source.episode(index)
            action.add(episode.action)
            state.add(episode.state)
        return cls(action=ranges_of(action.result()), state=ranges_of(state.result()))

    def require_fitting(self, spec: Spec) -> None:
        """Raise unless they are of as many numbers as a spec's states and actions have.

        Raises:
            DataError: naming the vector and both widths.
        """
        for name, quantiles, names in (
            ("action", self.action, spec.action),
            ("state", self.state, spec.state),
        ):
            if len(quantiles.q01) != len(names):
                raise DataError(
                    f"statistics.{name}: expected {len(names)} dimensions as the spec names them "
                    f"({', '.join(names)}), got {len(quantiles.q01)}. Use the statistics of this robot's data."
                )


def is_erased(low: float, high: float, minimum: float, maximum: float) -> bool:
    """Whether a dimension that varies has a range in which its motion is lost: it moves in fewer than one step of a
    hundred, so that q01 and q99 lie together, or as good as together."""
    width, reach = high - low, maximum - minimum
    return reach >= SMALLEST_RANGE and (
        width < SMALLEST_RANGE or (width < TINY_RANGE and reach > RARELY_MOVED * width)
    )


def answerable(quantiles: Quantiles, minimum: Sequence[float], maximum: Sequence[float]) -> Quantiles:
    """The same ranges but from the least to the greatest value where motion would be lost, see `is_erased`, so that every
    recorded value of that dimension can be answered.

    With q01 = q99 = 0 and values from -0.5 to 0, the range is -0.5 to 0.
    """
    ranges = [
        (least, greatest) if is_erased(low, high, least, greatest) else (low, high)
        for low, high, least, greatest in zip(quantiles.q01, quantiles.q99, minimum, maximum, strict=True)
    ]
    return Quantiles(q01=tuple(low for low, _ in ranges), q99=tuple(high for _, high in ranges))


def ranges_of(statistics: FeatureStatistics) -> Quantiles:
    """By which a vector of these statistics is normalized."""
    quantiles = Quantiles(q01=tuple(statistics["q01"]), q99=tuple(statistics["q99"]))
    return answerable(quantiles, statistics["min"], statistics["max"])


ALONE = ""
"""The name of the one part of a data set that is no mixture."""


@dataclass(frozen=True)
class StatisticsByPart:
    """The statistics of each part of a mixture, by its name; one set of all data, under the name `ALONE`."""

    parts: Mapping[str, Statistics]

    def choose(self, name: str | None = None) -> Statistics:
        """Those of one part, which need no name if there is but one.

        Raises:
            ConfigurationError: there is no such part, or no name where there are several.
        """
        if name is None and len(self.parts) == 1:
            return next(iter(self.parts.values()))
        if name is None:
            raise ConfigurationError(
                f"statistics: expected the name of one of {', '.join(map(repr, self.parts))}, whose numbers differ, "
                "got none. Name the data set that was recorded with this robot."
            )
        require_known("statistics", name, self.parts)
        return self.parts[name]

    def of_training_data(self, part: str) -> Statistics:
        """Those that normalize a part of the data which these are of: its own, or all parts' one set.

        Raises:
            ConfigurationError: there are others' only.
        """
        return self.choose(None if set(self.parts) == {ALONE} else part)

    def require_fitting(self, spec: Spec) -> None:
        """Raise unless every part's are of as many numbers as a spec's states and actions have.

        Raises:
            DataError: naming the part, the vector and both widths.
        """
        for name, statistics in self.parts.items():
            try:
                statistics.require_fitting(spec)
            except DataError as error:
                raise DataError(f"{name}: {error}" if name else str(error)) from None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary, of one set that of its `Statistics`; `from_dict` is the inverse."""
        if set(self.parts) == {ALONE}:
            return dict(self.parts[ALONE].to_dict())
        return {name: statistics.to_dict() for name, statistics in self.parts.items()}

    @classmethod
    def from_dict(cls, values: Any) -> "StatisticsByPart":
        """Read what `to_dict` wrote, or `Statistics.to_dict`.

        Raises:
            DataError: an entry is missing or malformed, or there is none.
        """
        nested = isinstance(values, Mapping) and all(
            isinstance(entry, Mapping) and {"action", "state"} <= set(entry) for entry in values.values()
        )
        if not values or not nested:
            return cls({ALONE: Statistics.from_dict(values)})
        return cls({name: Statistics.from_dict(entry) for name, entry in values.items()})


class Normalizer:
    """Maps vectors to about [-1, 1] and back; the last axis holds the dimensions, any others are kept.

    With q01 = 0 and q99 = 10, a limit of 1, and the second dimension untouched:

        normalize    [[5, 7], [12, 7]]  ->  [[0, 7], [1, 7]]
        unnormalize  [[0, 7], [ 1, 7]]  ->  [[5, 7], [10, 7]]

    With a `margin`, which widens every range, no dimension is taken as constant. A dimension in `binary` is commanded by
    -1 and +1; the network sees 1 and 0 in their place, and its answer is rounded to the nearer command, 0.5 to 0.

    `center`, `half_range`, `inverse_half_range` and `limit` hold a float64 number for each dimension, `is_binary` a bool.
    """

    def __init__(
        self,
        quantiles: Quantiles,
        *,
        limit: float,
        untouched: Sequence[int] = (),
        margin: float = 0.0,
        binary: Sequence[int] = (),
    ):
        low = np.asarray(quantiles.q01, np.float64)
        high = np.asarray(quantiles.q99, np.float64) + margin
        keep = np.zeros(len(low), bool)
        keep[list(untouched)] = True
        constant = ~keep & (high - low < (0 if margin else SMALLEST_RANGE))
        # y = (x - center) / half_range, where a constant dimension is multiplied by zero on either way.
        self.center = np.where(keep, 0.0, (low + high) / 2)
        self.half_range = np.where(keep, 1.0, np.where(constant, 0.0, (high - low) / 2))
        self.is_binary = np.zeros(len(low), bool)
        self.is_binary[list(binary)] = True
        self.center[self.is_binary], self.half_range[self.is_binary] = 1.0, -2.0
        self.inverse_half_range = np.divide(1.0, self.half_range, out=np.zeros_like(low), where=~constant)
        self.limit = np.where(keep | self.is_binary, np.inf, limit)

    @property
    def dim(self) -> int:
        """Dimensions of the vectors it maps."""
        return len(self.center)

    def normalize(self, values: np.ndarray) -> np.ndarray:
        """Physical to normalized float32, clipped at the limit; constant dimensions become 0."""
        self._require_width(values)
        scaled = (np.asarray(values, np.float64) - self.center) * self.inverse_half_range
        return np.clip(scaled, -self.limit, self.limit).astype(np.float32)

    def unnormalize(self, values: np.ndarray) -> np.ndarray:
        """Normalized to physical float32, the inverse of `normalize` on values that it has not clipped."""
        self._require_width(values)
        physical = np.asarray(values, np.float64) * self.half_range + self.center
        return np.where(self.is_binary, np.sign(physical), physical).astype(np.float32)

    def _require_width(self, values: np.ndarray) -> None:
        if values.shape[-1] != self.dim:
            raise DataError(
                f"normalization: expected vectors of {self.dim} dimensions, got shape {values.shape}. "
                "Use the statistics that belong to this robot."
            )


def untouched_dimensions(spec: Spec) -> tuple[int, ...]:
    """The action dimensions that are normalized already: a gripper commanded by -1 and +1.

    Raises:
        ConfigurationError: the spec has such a gripper but names no action dimension of it.
    """
    if spec.gripper != GRIPPER_OPEN_NEGATIVE:
        return ()
    if not spec.gripper_places:
        raise ConfigurationError(
            f"spec.action: expected a name containing 'gripper', since spec.gripper={spec.gripper!r}, "
            f"got {', '.join(spec.action)}. Name the gripper's dimension so, or in spec.grippers."
        )
    return spec.gripper_places


def action_normalizer(
    statistics: Statistics, spec: Spec, normalization: Normalization = "exact"
) -> Normalizer:
    """The one normalizer of actions, for training targets and for a policy's answers."""
    gripper = untouched_dimensions(spec)
    if normalization == "exact":
        return Normalizer(statistics.action, limit=ACTION_LIMIT, untouched=gripper)
    return Normalizer(statistics.action, limit=ACTION_LIMIT, margin=VLA_ADAPTER_MARGIN, binary=gripper)


def state_normalizer(
    statistics: Statistics, limit: float, normalization: Normalization = "exact"
) -> Normalizer:
    """The one normalizer of proprioception, for training and inference; `limit` is `TrainingConfig.state_limit`."""
    margin = 0.0 if normalization == "exact" else VLA_ADAPTER_MARGIN
    return Normalizer(statistics.state, limit=limit, margin=margin)
