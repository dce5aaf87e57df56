"""Simulating processes do not outlive the one that wanted them."""

import os
import signal
import subprocess
import sys
import time

import pytest

from focusvla.errors import WorkerError
from focusvla.simulation.workers import simulation_workers

POOL = """
import os, time
from focusvla.simulation.workers import simulation_workers

if __name__ == "__main__":
    with simulation_workers(2) as pool:
        pids = {pool.submit(os.getpid).result() for _ in range(20)}
        print(*pids, flush=True)
        time.sleep(60)
"""


@pytest.mark.slow
def test_a_killed_worker_is_an_error_that_says_how_to_go_on():
    with (
        pytest.raises(WorkerError, match="run the same command again, with fewer --workers"),
        simulation_workers(1) as pool,
    ):
        pool.submit(os._exit, 1).result()


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "pool.py"
    script.write_text(POOL)
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    assert pids
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while (alive := [pid for pid in pids if os.path.exists(f"/proc/{pid}")]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive
