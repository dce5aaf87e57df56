"""Help that fits a screen: the commands in groups, and of each command an example and the flags that are often used.

The rest, `RARE`, is shown by `--help-all`. They are names of configuration fields, so that a field is as rare in every
command that has it.
"""

import contextlib
import inspect
import shutil
import textwrap
from collections.abc import Callable, Mapping
from typing import Any

import tyro
from rich.text import Text

from focusvla.cli.output import say
from focusvla.cli.parsing import MARKERS, FieldReader, deferred, said_by_tyro

HELP_FLAGS = {"-h", "--help", "--help-all"}

RARE = frozenset({
    "data_weights", "data_cameras", "skip_damaged", "cache", "chunk_length",
    "precision", "schedule", "warmup_steps", "decay_steps", "ema_decay", "frame_stride", "validate_every",
    "checkpoint_every", "compiled", "graphs",
    "trackers", "parallelism", "gradient_checkpointing", "prefetched_batches", "keep_checkpoints",
    "micro_batch_size", "threads",
    "dinov2", "siglip", "language", "prismatic", "vggt",
    "jpeg_quality", "center_crop_area",
    "statistics", "evaluation", "shard", "num_shards", "video_size", "executor", "ray_address",
    "max_batch", "max_batch_wait_seconds", "stall_seconds", "actions_per_inference", "recorded_trials",
    "undisplaced_share", "arm_displacement_meters", "displacement_meters", "max_steps", "steps_per_picture",
    "state", "every", "trial", "step", "controls",
    "parts", "slow_reader_seconds", "ping_seconds", "drain_seconds",
})  # fmt: skip


def show_overview(groups: Mapping[str, Mapping[str, Callable[..., Any]]]) -> None:
    """Print what there is, a line a command."""
    say("usage: focusvla COMMAND ...\n")
    say("Focused visual utilization for vision-language-action models. Begin with: focusvla quickstart")
    width = max(len(name) for group in groups.values() for name in group)
    for title, group in groups.items():
        say("")
        say(Text(title, "bold"))
        for name, command in group.items():
            say(f"  {name:{width}}  {summary(command)}")
    say("\nHelp: focusvla COMMAND --help")


def summary(command: Callable[..., Any]) -> str:
    """The first sentence of its docstring."""
    return (inspect.getdoc(command) or "").partition("\n")[0]


def show_help(name: str, command: Callable[..., Any], *, complete: bool) -> None:
    """Print a command's help, without rare flags unless it is to be `complete`."""
    fields = FieldReader(() if complete else RARE)
    about = (inspect.getdoc(command) or "").partition("\nArgs:")[0].strip()
    width = shutil.get_terminal_size().columns
    say("\n\n".join(_filled(part, width) for part in about.split("\n\n")) + "\n")
    with said_by_tyro() as said, contextlib.suppress(SystemExit):
        tyro.cli(
            deferred(command),
            prog=f"focusvla {name}",
            description="",
            args=["--help"],
            config=MARKERS,
            registry=fields.registry,
        )
    say(said().rstrip())
    if fields.found:
        say(f"{len(fields.found)} flags more: focusvla {name} --help-all")


def _filled(paragraph: str, width: int) -> str:
    """Within `width`, but for an example, which people copy as it is."""
    if paragraph.startswith("Example:"):
        return paragraph
    return textwrap.fill(paragraph, width, break_on_hyphens=False, break_long_words=False)
