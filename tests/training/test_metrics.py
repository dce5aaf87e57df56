"""How fast training is, whatever a GPU's driver says."""

import pytest
import torch

from focusvla.training.metrics import Speed


class NVMLError(Exception):
    """As nvidia-ml-py's, which derives from nothing closer."""


@pytest.mark.parametrize("error", [NVMLError("Not Supported"), ModuleNotFoundError(), RuntimeError()])
def test_a_driver_that_cannot_tell_how_busy_a_gpu_is_ends_no_run(error, monkeypatch):
    def utilization(device: torch.device) -> int:
        raise error

    monkeypatch.setattr(torch.cuda, "utilization", utilization)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: 7)
    speed = Speed(32, torch.device("cuda"))
    speed.add(2.0, 0.5)
    assert speed.metrics() == {"samples_per_second": 16, "data_wait_share": 0.25, "peak_memory_bytes": 7}
