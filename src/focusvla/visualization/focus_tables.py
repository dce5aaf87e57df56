"""Means of focus numbers over frames, with intervals over episodes, as Markdown."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from focusvla.evaluation.clustered import ClusteredMean, clustered_mean
from focusvla.evaluation.markdown import markdown_table
from focusvla.model.taps import STREAMS
from focusvla.suites import REGIONS
from focusvla.visualization.focus_metrics import FrameFocus

Found = Sequence[FrameFocus]
_Numbers = Float[np.ndarray, "frames layers"]

_PLAIN = ("entropy", "kept_patches", "gate")
"""Numbers that are no shares."""
_TABLES = {
    "Streams: share of what attention adds, percent": [f"adds_{stream}" for stream in STREAMS],
    "Streams: share of a mixed layer's softmax, percent": [f"weight_{stream}" for stream in STREAMS],
    "Vision attention: entropy in bits, patches kept by a head and action step, gate": list(_PLAIN),
    "Vision attention on what the task is about, percent": [f"attention_{region}" for region in REGIONS],
    "Kept patches on it, percent of them": [f"kept_{region}" for region in REGIONS],
    "Its pixels in kept patches, percent of them": [f"retained_{region}" for region in REGIONS],
}  # fmt: skip


def mean_by_layer(found: Found, episodes: Sequence[str]) -> dict[str, list[ClusteredMean]]:
    """By name of a number its mean over frames for each layer, and last over all layers; what was not measured is left
    out."""
    return {
        name: [_mean(column, episodes) for column in (*values.T, values.mean(axis=1))]
        for name, values in _numbers(found).items()
    }


def focus_tables(found: Mapping[str, Found], episodes: Sequence[str]) -> str:
    """The policies side by side, layer by layer, over the same frames; with differences to the first, frame by frame."""
    means = {name: mean_by_layer(numbers, episodes) for name, numbers in found.items()}
    numbers = {name: _numbers(numbers) for name, numbers in found.items()}
    first = next(iter(found))
    for name in list(found)[1:]:
        means[f"{name} minus {first}"] = {
            measured: [_mean((values - numbers[first][measured]).mean(axis=1), episodes)]
            for measured, values in numbers[name].items()
            if measured in numbers[first]
            and values.shape == numbers[first][measured].shape
            and measured != "gate"  # which does different things in cascaded and in mixed layers
        }
    num_episodes = len(set(episodes))
    brackets = " In brackets: 95 % interval, whole episodes drawn anew." if num_episodes > 1 else ""
    tables = [f"{len(episodes)} frame(s) of {num_episodes} episode(s).{brackets}"]
    for title, names in _TABLES.items():
        rows = [row for policy, measured in means.items() for row in _rows(policy, measured, names)]
        if rows:
            columns = [name.split("_", 1)[-1].replace("_", " ") for name in names]
            columns = names if names[0] in _PLAIN else columns
            table = markdown_table(("policy, layer", *columns), [*_chance(means[first], names), *rows])
            tables.append(f"**{title}**\n\n{table}")
    return "\n\n".join(tables)


def _rows(policy: str, means: Mapping[str, list[ClusteredMean]], names: Sequence[str]) -> Iterator[list[str]]:
    known = [means[name] for name in names if name in means]
    for place in range(len(known[0]) if known else 0):
        label = f"layer {place + 1}" if place < len(known[0]) - 1 else "all layers"
        cells = (_cell(name, means[name][place]) if name in means else "-" for name in names)
        yield [f"{policy}, {label}", *cells]


def _chance(means: Mapping[str, list[ClusteredMean]], names: Sequence[str]) -> list[list[str]]:
    """What uniform attention, or keeping patches at random, would have."""
    if not names[0].startswith(("attention_", "kept_")) or f"chance_{REGIONS[0]}" not in means:
        return []
    cells = (_cell("chance", means[f"chance_{region}"][-1]) for region in REGIONS)
    return [["chance: share of the pixels", *cells]]


def _cell(name: str, mean: ClusteredMean) -> str:
    return mean.shown(2) if name in _PLAIN else mean.shown(1, factor=100)


def _mean(values: Float[np.ndarray, " frames"], episodes: Sequence[str]) -> ClusteredMean:
    known = ~np.isnan(values)
    return clustered_mean(values[known], np.asarray(episodes)[known].tolist())


def _numbers(found: Found) -> dict[str, _Numbers]:
    numbers = {
        "entropy": np.stack([each.entropy for each in found]),
        "kept_patches": np.stack([each.kept_patches for each in found]),
    }
    gates = [each.gate.mean(axis=1) for each in found if each.gate is not None]
    if gates:
        numbers["gate"] = np.stack(gates)
    weights = [each.weight_shares for each in found if each.weight_shares is not None]
    for place, stream in enumerate(STREAMS):
        numbers[f"adds_{stream}"] = np.stack([each.contributions[:, place] for each in found])
        if weights:
            numbers[f"weight_{stream}"] = np.stack([shares[:, place] for shares in weights])
    regions = [each.regions for each in found if each.regions is not None]
    for place, region in enumerate(REGIONS if len(regions) == len(found) else ()):
        for name in ("attention", "kept", "retained"):
            numbers[f"{name}_{region}"] = np.stack([getattr(shares, name)[:, place] for shares in regions])
        numbers[f"chance_{region}"] = np.stack([shares.chance[None, place] for shares in regions])
    return {name: values for name, values in numbers.items() if not np.isnan(values).all()}
