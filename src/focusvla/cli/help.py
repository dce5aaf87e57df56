"""Help that fits a screen: the commands in groups, and of each command an example and the flags that are often used.

The rest, `RARE`, is shown by `--help-all`. They are names of configuration fields, or of groups of them, so that a field
is as rare in every command that has it.
"""

import contextlib
import inspect
import shutil
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import tyro
from rich.text import Text

from focusvla.cli.output import say
from focusvla.cli.parsing import MARKERS, FieldReader, deferred, said_by_tyro
from focusvla.config import ExperimentConfig

HELP_FLAGS = {"-h", "--help", "--help-all"}

RARE = frozenset({
    "data_weights", "data_cameras", "data_statistics", "skip_damaged", "cache",
    "model", "weights", "augmentation",
    "precision", "schedule", "warmup_steps", "decay_steps", "decay_factor", "final_learning_rate_share", "betas",
    "weight_decay", "weight_decay_on", "max_gradient_norm", "gripper_weight", "ema_decay", "frame_stride", "last_frames",
    "frame_format", "state_limit", "state_noise", "augmented_copies", "validation_share", "log_every", "validate_every",
    "checkpoint_every", "compiled", "graphs",
    "trackers", "parallelism", "gradient_checkpointing", "prefetched_batches", "keep_checkpoints",
    "micro_batch_size", "threads",
    "jpeg_quality", "center_crop_area",
    "statistics", "evaluation", "shard", "num_shards", "video_size", "executor", "ray_address",
    "max_batch", "max_batch_wait_seconds", "stall_seconds", "actions_per_inference", "chunks", "recorded_trials",
    "paraphrases", "paraphrase_sample", "plus_folder", "plus_sample", "plus_words",
    "undisplaced_share", "arm_displacement_meters", "displacement_meters", "max_steps", "steps_per_picture",
    "regardless", "state", "every", "trial", "step", "controls",
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


def show_help(name: str, command: Callable[..., Any], values: Sequence[str], *, complete: bool) -> None:
    """Print a command's help, without rare flags unless it is to be `complete`, and with the defaults of the preset that
    is among `values`."""
    fields = FieldReader(() if complete else RARE)
    about = (inspect.getdoc(command) or "").partition("\nArgs:")[0].strip()
    width = shutil.get_terminal_size().columns
    say("\n\n".join(_filled(part, width) for part in about.split("\n\n")) + "\n")
    with said_by_tyro() as said, contextlib.suppress(SystemExit):
        tyro.cli(
            deferred(command, _named_preset(command, values)),
            prog=f"focusvla {name}",
            description="",
            args=["--help"],
            config=MARKERS,
            registry=fields.registry,
        )
    say(said().rstrip())
    if fields.found:
        say(f"{sum(fields.found.values())} flags more: focusvla {name} --help-all")


def _named_preset(command: Callable[..., Any], values: Sequence[str]) -> ExperimentConfig | None:
    """What the command would train, if it trains a preset and names it."""
    names = [value for value in values if not value.startswith("-")]
    if not names or not {"preset", "overrides"} <= inspect.signature(command).parameters.keys():
        return None
    from focusvla.presets import PRESETS, preset  # which brings numpy, for which other help does not wait

    return next((preset(name) for name in names if name in PRESETS), None)


def _filled(paragraph: str, width: int) -> str:
    """Within `width`, but for an example, which people copy as it is."""
    if paragraph.startswith("Example:"):
        return paragraph
    return textwrap.fill(paragraph, width, break_on_hyphens=False, break_long_words=False)
