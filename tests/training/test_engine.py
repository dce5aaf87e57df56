"""Several processes, passes and recomputation: the gradients of one process that computes all at once."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState, PartialState
from safetensors.torch import load_file
from torch._dynamo.utils import counters

from focusvla.config import ExecutionConfig
from focusvla.errors import MissingDependencyError
from focusvla.model.focusvla import FocusVLA
from focusvla.presets import preset
from focusvla.training.engine import Engine
from training.gradients_of_many import gradients

WORKER = Path(__file__).with_name("gradients_of_many.py")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone")


def require_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Up to 1e-5, in units of the largest gradient: some are 0 but for rounding, such as those of keys' biases."""
    assert set(found) == set(expected)
    scale = max(value.abs().max().item() for value in expected.values())
    for name, value in expected.items():
        assert (found[name] - value).abs().max().item() < 1e-5 * scale, name


@pytest.mark.parametrize("name", ["tiny", "paper_tiny"])
@pytest.mark.parametrize(
    "execution",
    [
        ExecutionConfig(micro_batch_size=2),
        ExecutionConfig(micro_batch_size=3),
        ExecutionConfig(gradient_checkpointing=True),
    ],
    ids=["four passes", "passes of 2, 3 and 3 samples", "recomputation"],
)
def test_a_batch_in_parts_has_the_gradients_of_the_whole(name, execution, tmp_path):
    expected = gradients(name, ExecutionConfig(), 8, tmp_path)
    found = gradients(name, execution, 8, tmp_path)
    assert expected is not None
    assert found is not None
    assert expected["loss"] > 0
    require_equal(found, expected)


def test_a_second_run_is_on_its_own_device_whatever_the_first_was_on(tmp_path, monkeypatch):
    on_cpu = ExecutionConfig(device="cpu")
    Engine(on_cpu, "float32", tmp_path)
    for state in (PartialState, AcceleratorState):
        monkeypatch.setitem(state._shared_state, "device", torch.device("cuda"))
    assert Engine(on_cpu, "float32", tmp_path).device == torch.device("cpu")


@pytest.mark.long
@pytest.mark.filterwarnings("default")  # compiling makes torch warn of itself
def test_compiled_layers_have_the_gradients_of_plain_ones_when_recomputed_as_well(tmp_path):
    expected = gradients("paper_tiny", ExecutionConfig(), 4, tmp_path)
    counters.clear()
    execution = ExecutionConfig(compiled=True, gradient_checkpointing=True)
    found = gradients("paper_tiny", execution, 4, tmp_path)
    assert counters["stats"]["unique_graphs"] > 0  # or nothing was compiled
    assert expected is not None
    assert found is not None
    require_equal(found, expected)


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "batch_size", "micro_batch_size", "recomputes"),
    [("paper_tiny", 8, 0, False), ("paper_tiny", 7, 2, True), ("tiny", 8, 2, False)],
    ids=["the paper's parts", "unequal shares in passes, recomputed", "the fused loop"],
)
def test_two_processes_have_the_gradients_of_one_with_the_joined_batch(
    name, batch_size, micro_batch_size, recomputes, tmp_path
):
    """Every parameter that learns, replicated and divided; the reference's policy head is not reduced."""
    expected = gradients(name, ExecutionConfig(), batch_size, tmp_path)
    assert expected is not None
    arguments = (tmp_path, name, batch_size, micro_batch_size, recomputes, "ddp-float32", "fsdp2-float32")
    subprocess.run([*TORCHRUN, "--nproc-per-node", "2", WORKER, *map(str, arguments)], check=True)
    for parallelism in ("ddp", "fsdp2"):
        require_equal(load_file(tmp_path / f"{parallelism}-float32.safetensors"), expected)


@pytest.mark.slow
def test_divided_weights_have_in_bfloat16_the_loss_and_gradients_of_whole_ones(tmp_path):
    """As a CPU's autocast computes and as CUDA's does, in passes."""
    wrappers = [f"{way}-{precision}" for way in ("ddp", "fsdp2") for precision in ("bfloat16", "cuda")]
    arguments = (tmp_path, "paper_tiny", 7, 2, False, *wrappers)
    subprocess.run([*TORCHRUN, "--nproc-per-node", "2", WORKER, *map(str, arguments)], check=True)
    found = {wrapper: load_file(tmp_path / f"{wrapper}.safetensors") for wrapper in wrappers}
    for precision in ("bfloat16", "cuda"):
        require_equal(found[f"fsdp2-{precision}"], found[f"ddp-{precision}"])


def test_a_batch_is_computed_in_as_few_passes_as_fit(tmp_path):
    def passes(micro_batch_size: int, batch_size: int = 64) -> int:
        return Engine(ExecutionConfig(micro_batch_size=micro_batch_size), "float32", tmp_path).passes(
            batch_size
        )

    assert [passes(size) for size in (0, 64, 100, 63, 8, 7, 1)] == [1, 1, 1, 2, 8, 10, 64]


def test_a_tracker_that_is_not_installed_names_its_extra(tmp_path):
    with pytest.raises(MissingDependencyError, match=r"focusvla\[trackio\]"):
        Engine(ExecutionConfig(trackers=("trackio",)), "float32", tmp_path)


def test_in_bfloat16_what_learns_stays_float32_and_the_rest_halves(tmp_path):
    torch.manual_seed(0)
    model = FocusVLA(preset("paper_tiny").model)
    engine = Engine(ExecutionConfig(), "bfloat16", tmp_path)
    engine.prepare(model)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    assert {p.dtype for p in model.parameters() if not p.requires_grad} == {torch.bfloat16}
    with engine.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
