"""What only a GPU can show: `pytest -m gpu`. That graphs answer as the plain model does is in tests/model."""

import copy
import dataclasses
from pathlib import Path

import pytest
import torch
from torch._dynamo.utils import counters

from focusvla.config import ExecutionConfig, ExperimentConfig
from focusvla.data.memory import random_source
from focusvla.data.transforms import Variations, draw_variations, vary
from focusvla.devices import choose_device, described, upload
from focusvla.model.focusvla import FocusVLA
from focusvla.model.inference import CapturedGraph, InferenceModel
from focusvla.model.side_stream import SideStream
from focusvla.presets import paper_tiny
from focusvla.suites.libero import libero_spec
from focusvla.training.engine import Engine
from focusvla.training.memory import WORKSPACES, _example, plan_memory
from focusvla.training.metrics import read_metrics
from focusvla.training.trainer import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.filterwarnings("default"),  # torch's own, of a GPU and of compiling
]
CUDA = torch.device("cuda")


def experiment(precision: str = "bfloat16", **training: object) -> ExperimentConfig:
    found = paper_tiny()
    changed = dataclasses.replace(found.training, precision=precision, **training)  # type: ignore[arg-type]
    return dataclasses.replace(found, training=changed)


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(run / "metrics.jsonl") if "loss" in line]


def test_the_gpu_is_found_and_described():
    assert choose_device("auto").type == "cuda"
    assert "GB free" in described(choose_device("cuda"))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_run_that_was_interrupted_goes_on(precision, tmp_path):
    source = random_source(libero_spec(56), (9, 7, 8))
    whole = experiment(precision, steps=6, checkpoint_every=3)
    train(whole, source, tmp_path / "whole", cache_folder=tmp_path)

    class Interruption(Exception):
        pass

    def interrupt(report):
        if report.step == 5:
            raise Interruption

    with pytest.raises(Interruption):
        train(whole, source, tmp_path / "run", cache_folder=tmp_path, on_step=interrupt)
    train(whole, source, tmp_path / "run", cache_folder=tmp_path)
    # Sums of a GPU's kernels come in no fixed order.
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "whole"), rel=0.02)


def test_training_learns_on_the_gpu_what_it_learns_on_the_cpu(tmp_path):
    source = random_source(libero_spec(56), (9, 7, 8))
    chosen = experiment("float32", steps=5)
    train(chosen, source, tmp_path / "gpu", cache_folder=tmp_path)
    on_cpu = dataclasses.replace(chosen, execution=ExecutionConfig(device="cpu"))
    train(on_cpu, source, tmp_path / "cpu", cache_folder=tmp_path)
    assert losses(tmp_path / "gpu") == pytest.approx(losses(tmp_path / "cpu"), rel=0.01)


def test_nothing_is_compiled_after_the_second_step(tmp_path):
    torch._dynamo.reset()
    counters.clear()
    chosen = experiment(steps=5, validate_every=2, validation_share=0.4, batch_size=3)
    chosen = dataclasses.replace(chosen, execution=ExecutionConfig(compiled=True))
    graphs: list[int] = []
    train(
        chosen,
        random_source(libero_spec(56), (4, 5, 6)),
        tmp_path / "run",
        cache_folder=tmp_path,
        on_step=lambda report: graphs.append(counters["stats"]["unique_graphs"]),
    )
    assert graphs[0] > 0
    assert graphs[1:] == [graphs[1]] * 4 == [counters["stats"]["unique_graphs"]] * 4
    assert not counters["graph_break"]


def test_work_on_a_side_stream_is_part_of_the_graph():
    def both(x: torch.Tensor) -> torch.Tensor:
        beside = SideStream(x.device)
        with beside:
            doubled = x * 2
        tripled = x * 3
        beside.join()
        return doubled + tripled

    x = torch.ones(1000, 1000, device=CUDA)
    stream = torch.cuda.Stream()
    with torch.inference_mode():
        both(x)  # kernels are loaded when they first run, which may not be recorded
        graph = CapturedGraph(both, [x], stream, torch.cuda.graph_pool_handle())
        for factor in (1.0, 4.0):
            assert torch.equal(graph(factor * x), 5 * factor * x)


@pytest.mark.parametrize("graphs", [False, True], ids=["layer by layer", "graph"])
def test_bfloat16_answers_are_near_those_of_float32(graphs):
    torch.manual_seed(0)
    chosen = paper_tiny().model
    language = dataclasses.replace(chosen.language, vocabulary=("cup", "lift", "the"))
    model = FocusVLA(dataclasses.replace(chosen, language=language)).eval()
    images = torch.randint(0, 256, (2, 2, 56, 56, 3), dtype=torch.uint8)
    state = torch.randn(2, chosen.state_dim)
    plain = InferenceModel(copy.deepcopy(model), dtype=torch.float32, compiled=False, graphs=False)
    expected = plain(images, ["lift the cup", "lift"], state)
    fast = InferenceModel(model.to(CUDA), dtype=torch.bfloat16, compiled=False, graphs=graphs)
    for _ in range(2):
        # Other pictures' answers are 0.15 to 0.45 away, and rounding otherwise up to 0.04.
        answers = fast(images.to(CUDA), ["lift the cup", "lift"], state.to(CUDA)).cpu()
        torch.testing.assert_close(answers, expected, rtol=0, atol=0.1 * float(expected.abs().max()))
    assert fast.records_graphs == graphs


def test_pictures_vary_on_the_gpu_as_on_the_cpu():
    settings = paper_tiny().training.augmentation
    images = torch.randint(0, 256, (4, 2, 56, 56, 3), dtype=torch.uint8)
    drawn: Variations = draw_variations(settings, 4, 2, torch.Generator().manual_seed(0))
    expected = vary(images, drawn.part(slice(None), torch.device("cpu")))
    found = vary(upload(images, CUDA), drawn.part(slice(None), CUDA)).cpu()
    assert (found.int() - expected.int()).abs().max() <= 1


def test_the_peak_of_memory_is_what_was_planned(tmp_path):
    chosen = experiment(batch_size=2000)
    engine = Engine(chosen.execution, "bfloat16", tmp_path)
    model = FocusVLA(chosen.model)
    module = engine.prepare(model)
    batch = _example(model, 2000)
    batch = dataclasses.replace(
        batch, **{name: value.to(CUDA) for name, value in vars(batch).items() if value is not None}
    )
    torch.cuda.reset_peak_memory_stats()
    with engine.autocast():
        module(batch).float().abs().sum().backward()
    planned = plan_memory(chosen)
    peak = torch.cuda.max_memory_allocated()
    assert 0.7 * planned.allocated < peak < planned.allocated + WORKSPACES
