"""The memory plan against what a forward pass really leaves allocated, and the recipes that it chooses."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from focusvla.config import ExecutionConfig, ExperimentConfig
from focusvla.errors import ConfigurationError
from focusvla.model.focusvla import FocusVLA
from focusvla.presets import preset
from focusvla.training.engine import Engine
from focusvla.training.memory import (
    CONTEXT,
    GB,
    WORKSPACES,
    _Allocated,
    _example,
    fit_device,
    fit_memory,
    flags_of,
    plan_memory,
)
from focusvla.training.promotion import PromotedAsOnCUDA


def experiment(name: str, precision: str, recomputes: bool, samples: int) -> ExperimentConfig:
    found = preset(name)
    return replace(
        found,
        training=replace(found.training, batch_size=samples, precision=precision),  # type: ignore[arg-type]
        execution=ExecutionConfig(gradient_checkpointing=recomputes),
    )


def left_by_forward(chosen: ExperimentConfig, folder: Path) -> int:
    """Bytes that a real forward pass on the CPU allocates and does not free, layer norm and softmax as on a GPU."""
    engine = Engine(chosen.execution, chosen.training.precision, folder)
    model = FocusVLA(chosen.model)
    module = engine.prepare(model)

    def forward() -> torch.Tensor:
        with engine.autocast(), PromotedAsOnCUDA():
            return module(_example(model, chosen.training.batch_size)).sum()

    forward()  # what is allocated once
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as measured:
        kept = forward()
    assert kept.requires_grad
    return sum(event.self_cpu_memory_usage for event in measured.events() or [])


@pytest.mark.parametrize("recomputes", [False, True], ids=["kept", "recomputed"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["mini_blind", "paper_tiny"])
def test_activations_are_those_that_a_forward_pass_leaves(name, precision, recomputes, tmp_path):
    chosen = experiment(name, precision, recomputes, samples=16)
    plan = plan_memory(chosen)
    if recomputes:  # the largest block's states exist in the backward pass alone
        whole = plan_memory(experiment(name, precision, recomputes=False, samples=16))
        assert left_by_forward(chosen, tmp_path) <= plan.activations < whole.activations
    else:
        assert plan.activations == pytest.approx(left_by_forward(chosen, tmp_path), rel=0.1)


def test_bytes_of_an_operation_count_while_their_tensor_lives():
    with _Allocated() as allocated:
        x = torch.ones(1000)
        y = (x * 2).view(10, 100)  # a view takes nothing
        del x
        y.add_(1)
        assert (allocated.now, allocated.peak) == (4000, 8000)
        del y
        assert allocated.now == 0


def test_the_reserve_is_said_and_grows_with_what_is_allocated():
    few, many = (plan_memory(experiment("paper_tiny", "bfloat16", False, samples)) for samples in (1, 1000))
    assert few.reserve >= CONTEXT + WORKSPACES
    assert many.reserve - few.reserve == pytest.approx(0.08 * (many.allocated - few.allocated), abs=2)
    assert many.total == many.allocated + many.reserve
    assert "reserve for a GPU's context, workspaces and fragmentation 0.9" in str(many)


def test_weights_that_are_divided_leave_whole_what_is_in_no_layer():
    chosen = experiment("paper_tiny", "float32", False, 8)
    divided = replace(chosen, execution=ExecutionConfig(parallelism="fsdp2"))
    whole, parts = plan_memory(chosen, 1000).weights, plan_memory(divided, 1000).weights
    model = FocusVLA(chosen.model)
    in_layers = {p for block in model.blocks() for p in block.parameters()}
    outside = sum(4 * p.numel() for p in model.parameters() if p not in in_layers)
    largest = max(sum(4 * p.numel() for p in block.parameters()) for block in model.blocks())
    assert parts == whole // 1000 + outside + 2 * largest


def test_passes_are_chosen_by_what_is_free_only_where_they_were_not():
    whole = experiment("paper_tiny", "bfloat16", False, samples=2000)
    assert fit_device(whole, 80.0 * GB) is whole
    fitted = fit_device(whole, 1.4 * GB)
    assert 4 <= fitted.execution.micro_batch_size < 2000
    assert plan_memory(fitted).total <= 1.4 * GB
    chosen = replace(whole, execution=ExecutionConfig(micro_batch_size=1500))
    flags = flags_of(fitted.execution)
    with pytest.raises(ConfigurationError, match=rf"at most 1.4 GB, which are free.*Give {flags}\. 5 GB are"):
        fit_device(chosen, 1.4 * GB, others="5 GB are other processes'")
    with pytest.raises(ConfigurationError, match=r"at most 0.5 GB.*The least is memory plan.*torchrun"):
        fit_device(whole, 0.5 * GB)


@pytest.mark.slow
def test_the_paper_takes_what_its_parameters_say():
    """239,060,871 + 103,636,992 learn less those that the reference counts and never trains; the rest is bfloat16."""
    plan = plan_memory(preset("paper"))
    assert plan.gradients == pytest.approx(1.32 * GB, rel=0.01)
    assert (plan.moments, plan.average) == (2 * plan.gradients, 0)
    assert plan.weights == pytest.approx(plan.gradients + 2 * 1.21 * GB, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gigabytes", "processes", "recomputes"), [(10, 1, True), (24, 1, False), (48, 1, False), (80, 4, False)]
)
def test_the_paper_fits_by_a_recipe(gigabytes, processes, recomputes):
    chosen = fit_memory(preset("paper"), gigabytes * GB, processes)
    plan = plan_memory(chosen, processes)
    assert plan.total < gigabytes * GB
    assert chosen.execution.gradient_checkpointing == recomputes
    assert chosen.execution.parallelism == "ddp"
    assert plan.passes * plan.samples * processes >= 64


@pytest.mark.slow
def test_weights_are_divided_only_where_they_do_not_fit_otherwise():
    chosen = fit_memory(preset("paper"), 8 * GB, num_processes=4)
    assert chosen.execution.parallelism == "fsdp2"


@pytest.mark.slow
def test_a_device_that_is_too_small_is_refused_with_the_least_plan():
    with pytest.raises(ConfigurationError, match=r"at most 4.0 GB, the least is memory plan: \d"):
        fit_memory(preset("paper"), 4 * GB)
