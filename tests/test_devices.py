"""Which device a name means, and the one message for each that cannot be used."""

import inspect

import pytest
import torch

from focusvla.cli.focus import focus
from focusvla.cli.report import report
from focusvla.cli.vla_eval import serve_vla_eval
from focusvla.config import EvaluationConfig, ExecutionConfig, ServingConfig
from focusvla.devices import choose_device, described, explained_device_errors, free_memory, taken_by_others
from focusvla.errors import ConfigurationError
from focusvla.evaluation.policies import checkpoint_source
from focusvla.policy import load_policy


@pytest.fixture
def cuda(monkeypatch):
    """Make torch say that it was built for CUDA and that using it fails with `reason`, or finds `count` GPUs with so much
    memory."""

    def pretend(reason: str = "", count: int = 0, free: int = 0, total: int = 0, reserved: int = 0) -> None:
        def init() -> None:
            if reason:
                raise RuntimeError(reason)

        monkeypatch.setattr(torch.version, "cuda", "13.0")
        monkeypatch.setattr(torch.cuda, "init", init)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "H100")
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, total))
        monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: reserved)
        monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: reserved // 2)

    return pretend


def test_auto_is_the_gpu_if_there_is_one_and_the_cpu_if_there_is_none(cuda):
    cuda(count=1)
    assert choose_device("auto") == torch.device("cuda")
    cuda("Found no NVIDIA driver on your system.")
    assert choose_device("auto") == torch.device("cpu")
    assert choose_device("cpu") == torch.device("cpu")


def test_cuda_asked_of_a_torch_without_it_names_the_build(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(
        ConfigurationError, match=r"device='cuda': expected torch built for CUDA, got .*--device cpu"
    ):
        choose_device("cuda")


@pytest.mark.parametrize("name", ["cuda", "auto"])
def test_a_driver_that_is_too_old_is_said_and_never_computed_around(name, cuda):
    cuda(
        "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver by"
    )
    with pytest.raises(
        ConfigurationError, match=r"driver, which knows CUDA 11.4, is too old .*for CUDA 13.0. Update"
    ):
        choose_device(name)


def test_cuda_asked_where_no_gpu_is_seen_gives_torchs_reason(cuda):
    cuda("No CUDA GPUs are available")
    with pytest.raises(
        ConfigurationError, match=r"got none that torch .*No CUDA GPUs are available.*CUDA_VISIBLE"
    ):
        choose_device("cuda")


def test_a_gpu_beyond_the_last_is_refused(cuda):
    cuda(count=2)
    assert choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ConfigurationError, match=r"device='cuda:2': expected cuda:0 to cuda:1"):
        choose_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "cuda:x", ""])
def test_a_name_that_is_no_device_is_refused(name):
    with pytest.raises(ConfigurationError, match="expected auto, cpu, cuda"):
        choose_device(name)


def test_what_a_gpu_has_is_said_in_one_line_and_another_process_is_named(cuda):
    cuda(count=1, free=20 * 10**9, total=80 * 10**9, reserved=4 * 10**9)
    device = torch.device("cuda")
    assert described(device) == "cuda:0, H100, 20.0 of 80.0 GB free"
    assert free_memory(device) == 22 * 10**9
    assert taken_by_others(device).startswith("56.0 of 80.0 GB are other processes'")
    cuda(count=1, free=79 * 10**9, total=80 * 10**9)
    assert taken_by_others(device) == ""
    assert free_memory(torch.device("cpu")) is None


def test_memory_that_runs_out_and_an_exclusive_gpu_are_one_message_each(cuda):
    cuda(count=1, free=20 * 10**9, total=80 * 10**9)
    device = torch.device("cuda")
    with (
        pytest.raises(
            ConfigurationError, match=r"memory: cuda has too little .*other processes'.*; or halve it"
        ),
        explained_device_errors(device, "halve it"),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
    with (
        pytest.raises(ConfigurationError, match="another process keeps this GPU to itself"),
        explained_device_errors(device, "halve it"),
    ):
        raise RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable")
    with pytest.raises(RuntimeError, match="of ours"), explained_device_errors(device, "halve it"):
        raise RuntimeError("a fault of ours")


@pytest.mark.parametrize(
    "takes_device",
    [EvaluationConfig, ExecutionConfig, ServingConfig, checkpoint_source, focus, load_policy, report, serve_vla_eval],
)  # fmt: skip
def test_whatever_computes_takes_the_gpu_if_there_is_one_without_being_told(takes_device):
    assert inspect.signature(takes_device).parameters["device"].default == "auto"
