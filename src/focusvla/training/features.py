"""Features of a frozen encoder, computed once: originals and augmented copies, in one memory-mapped file."""

import hashlib
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float16

from focusvla.config import Augmentation, TrainingConfig
from focusvla.data.batch_order import step_generator
from focusvla.data.crops import crop_center
from focusvla.data.frame_cache import FrameCache
from focusvla.data.transforms import augment
from focusvla.model.focusvla import FocusVLA
from focusvla.storage import create_table, explained_storage_errors, locked, partial_path, require_free_space

_FRAMES_AT_ONCE = 16


def open_features(
    model: FocusVLA, cache: FrameCache, config: TrainingConfig, on_progress: Callable[[int, int], None]
) -> Float16[np.ndarray, "copies rows patches raw"]:
    """Open the features of all cached frames beside the cache, computing them first if that has not been
    done.

    Copy 0 is of the frames as the policy will see them, the others of augmented ones. Of several processes that ask at
    once, one computes and the others wait. `on_progress` is told finished and all frames.

    Raises:
        StorageError: the disk is too full or the folder cannot be written.
    """
    settings = config.augmentation
    vision = model.config.vision
    encoder = [vision.encoder, vision.image_size, vision.patch_size, _digest_of_weights(model)]
    described = [asdict(each) for each in (model.config.pictures, settings)]
    identity = json.dumps([cache.path.name, encoder, *described, config.augmented_copies, config.seed])
    path = cache.path.with_name(f"features-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.npy")
    with locked(path.with_suffix(".lock")), explained_storage_errors(path):
        if not path.exists():
            _encode(model, cache, settings, config, path, on_progress)
    return np.load(path, mmap_mode="r")


def _digest_of_weights(model: FocusVLA) -> str:
    """Of the encoder: a checkpoint that training begins with may bring one that has learned."""
    assert model.vision_encoder is not None
    digest = hashlib.sha256()
    for name, tensor in model.vision_encoder.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _encode(
    model: FocusVLA,
    cache: FrameCache,
    settings: Augmentation,
    config: TrainingConfig,
    path: Path,
    on_progress: Callable[[int, int], None],
) -> None:
    copies, rows = 1 + config.augmented_copies, len(cache)
    device = model.feature_mean.device
    shape = (copies, rows, model.config.num_patches, len(model.feature_mean))
    require_free_space(path, 2 * int(np.prod(shape)), "the table of encoded frames")
    partial = partial_path(path)
    table = create_table(partial, np.float16, shape)

    @torch.inference_mode()
    def encode(first: int) -> int:
        chosen = slice(first, first + _FRAMES_AT_ONCE)
        images = torch.from_numpy(np.array(cache.images[chosen])).to(device)
        generator = step_generator(config.seed, first)
        for copy in range(copies):
            if copy:
                varied = augment(images, settings, generator)
            else:
                varied = crop_center(images, model.config.pictures.center_crop_area)
            table[copy, chosen] = model.encode_images(varied).to(torch.float16).cpu().numpy()
        return min(first + _FRAMES_AT_ONCE, rows)

    # Each core has frames of its own: those that share some wait for each other, ten times as long if one is busy. The
    # other processes of this host wait, and lend theirs.
    of_host = torch.get_num_threads() * int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    workers = of_host if device.type == "cpu" else 1
    pool = ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,))
    try:
        for done in pool.map(encode, range(0, rows, _FRAMES_AT_ONCE)):
            on_progress(done, rows)
    finally:
        pool.shutdown(cancel_futures=True)
    table.flush()
    partial.replace(path)
