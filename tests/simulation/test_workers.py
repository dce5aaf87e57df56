"""Simulating processes do not outlive the one that wanted them."""

import os
import signal
import subprocess
import sys
import time

import pytest

from focusvla.errors import WorkerError
from focusvla.simulation.workers import simulate

SIMULATION = """
import time
from focusvla.simulation.workers import simulate

if __name__ == "__main__":
    import os
    jobs = [(time.sleep, 60), (time.sleep, 60), (os.getpid,), (os.getpid,)]
    for pid in simulate(lambda: jobs.pop() if jobs else None, 2):
        print(pid, flush=True)
"""


@pytest.mark.slow
def test_the_next_job_may_depend_on_the_results_so_far():
    jobs, results = [(divmod, 7, 2)], []

    def next_job():
        return jobs.pop() if jobs else None

    for result in simulate(next_job, 2):
        results.append(result)
        if result == (3, 1):
            jobs += [(max, 5, 6), (min, 5, 6)]
    assert results[0] == (3, 1)
    assert sorted(results[1:]) == [5, 6]


@pytest.mark.slow
def test_a_killed_worker_is_an_error_that_says_how_to_go_on():
    with pytest.raises(WorkerError, match="run the same command again, with fewer --workers"):
        list(simulate(lambda: (os._exit, 1), 1))


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(tmp_path):
    script = tmp_path / "simulation.py"
    script.write_text(SIMULATION)
    parent = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pids = [int(parent.stdout.readline()) for _ in range(2)]
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while (alive := [pid for pid in pids if os.path.exists(f"/proc/{pid}")]) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive
