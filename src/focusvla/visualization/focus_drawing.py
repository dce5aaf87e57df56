"""Sheets of focus pictures: a row for each camera, a column for each layer or head, with titles."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, UInt8
from PIL import Image, ImageDraw, ImageFont

from focusvla.visualization.attention_maps import FocusMaps, draw_attention_heat, draw_kept_patches, enlarge
from focusvla.visualization.focus_frames import Frame

_TITLE_PIXELS = 14
_GAP_PIXELS = 2
_OUTLINES = ((255, 230, 0), (0, 220, 120), (90, 160, 255))
"""Of object, target and gripper."""

_Picture = UInt8[np.ndarray, "height width 3"]


def draw_layers(frame: Frame, maps: FocusMaps, size: int = 128) -> _Picture:
    """Every layer's attention over each camera, the mean of its heads, and beneath it the patches that it kept.

    What the policy sees of the camera's own picture comes first, with the object outlined in yellow, the target in green
    and the gripper in blue where they are known. A layer's colors are to one scale in all cameras.
    """
    layers = range(len(maps.weights))
    rows: dict[str, list[_Picture]] = {}
    for camera in maps.cameras:
        image = maps.seen(frame.observation.images[camera])
        heat = [
            draw_attention_heat(image, maps.attention_mass(camera, layer), _brightest(maps, layer), size)
            for layer in layers
        ]
        rows[camera] = [_outlined(frame, maps, camera, size), *heat]
        if not maps.kept.all():
            kept = [draw_kept_patches(image, maps.kept_share(camera, layer), size) for layer in layers]
            rows[f"{camera}, kept"] = [enlarge(image, size), *kept]
    return sheet(rows, [f"step {frame.step}", *(f"layer {layer + 1}" for layer in layers)])


def draw_heads(frame: Frame, maps: FocusMaps, size: int = 96) -> _Picture:
    """Every head's attention in every layer, a row per layer and camera; each head's colors are to its own scale."""
    rows: dict[str, list[_Picture]] = {}
    for layer in range(len(maps.weights)):
        for camera in maps.cameras:
            image = maps.seen(frame.observation.images[camera])
            heads = [
                draw_attention_heat(
                    image, maps.attention_mass(camera, layer, head), _brightest(maps, layer, head), size
                )
                for head in range(maps.weights.shape[1])
            ]
            rows[f"layer {layer + 1}, {camera}"] = [enlarge(image, size), *heads]
    return sheet(rows, [f"step {frame.step}", *(f"head {head + 1}" for head in range(maps.weights.shape[1]))])


def draw_moment(frame: Frame, maps: FocusMaps, size: int = 192) -> _Picture:
    """One frame of a video: each camera, what the last layer kept of it, and where its attention went."""
    rows: dict[str, list[_Picture]] = {}
    for camera in maps.cameras:
        image = maps.seen(frame.observation.images[camera])
        kept = draw_kept_patches(image, maps.kept_share(camera, -1), size)
        heat = draw_attention_heat(image, maps.attention_mass(camera, -1), _brightest(maps, -1), size)
        rows[camera] = [_outlined(frame, maps, camera, size), kept, heat]
    return sheet(rows, [f"step {frame.step}", "kept, last layer", "attention, last layer"])


def sheet(
    rows: Mapping[str, Sequence[_Picture]], titles: Sequence[str]
) -> UInt8[np.ndarray, "sheet_height sheet_width 3"]:
    """Square pictures of one size as a table, a title over each column and a row's name in its first picture.

    Height and width are even, as videos want them.
    """
    size = len(next(iter(rows.values()))[0])
    step = size + _GAP_PIXELS
    height, width = _TITLE_PIXELS + step * len(rows), step * len(titles)
    drawn = Image.new("RGB", (width + width % 2, height + height % 2), "black")
    draw, font = ImageDraw.Draw(drawn), ImageFont.load_default()
    for column, title in enumerate(titles):
        draw.text((column * step + 2, 1), title, fill="white", font=font)
    for row, (name, pictures) in enumerate(rows.items()):
        top = _TITLE_PIXELS + row * step
        for column, picture in enumerate(pictures):
            drawn.paste(Image.fromarray(picture), (column * step, top))
        draw.text((2, top + 1), name, fill="white", font=font, stroke_width=1, stroke_fill="black")
    return np.asarray(drawn)


def _brightest(maps: FocusMaps, layer: int, head: int | None = None) -> float:
    return max(float(maps.attention_mass(camera, layer, head).max()) for camera in maps.cameras)


def _outlined(frame: Frame, maps: FocusMaps, camera: str, size: int) -> _Picture:
    picture = enlarge(maps.seen(frame.observation.images[camera]), size)
    if frame.regions is not None:
        for mask, color in zip(maps.seen_share(frame.regions[camera]) > 0.5, _OUTLINES, strict=True):
            picture[_outline(np.asarray(Image.fromarray(mask).resize((size, size))))] = color
    return picture


def _outline(mask: Bool[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"]:
    """The marked pixels that have a neighbor which is not."""
    padded = np.pad(mask, 1, mode="edge")
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~inside
