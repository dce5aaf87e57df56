"""Simulating processes do not outlive the one that wanted them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from focusvla.errors import DataError, WorkerError
from focusvla.simulation.workers import Call, simulate

SIMULATION = """
import time
from focusvla.simulation.workers import Call, simulate

if __name__ == "__main__":
    import os
    jobs = [*(Call(time.sleep, (60,)) for _ in range(2)), *(Call(os.getpid) for _ in range(2))]
    for pid in simulate(lambda: jobs.pop() if jobs else None, 2):
        print(pid, flush=True)
"""


@pytest.mark.slow
def test_the_next_job_may_depend_on_the_results_so_far():
    jobs, results = [Call(divmod, (7, 2))], []

    def next_job():
        return jobs.pop() if jobs else None

    for result in simulate(next_job, 2):
        results.append(result)
        if result == (3, 1):
            jobs += [Call(max, (5, 6)), Call(min, (5, 6))]
    assert results[0] == (3, 1)
    assert sorted(results[1:]) == [5, 6]


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_job_done_again(tmp_path):
    jobs = [Call(_die_the_first_time, (tmp_path / "begun",)), Call(max, (5, 6))]
    assert sorted(simulate(lambda: jobs.pop() if jobs else None, 2)) == [2, 6]


@pytest.mark.slow
def test_workers_that_are_killed_again_and_again_are_an_error_that_says_how_to_go_on():
    jobs = [Call(os._exit, (9,))]
    expected = r"lost 3 times .*ended with code 9.*run the same command again, with fewer --workers"
    with pytest.raises(WorkerError, match=expected):
        list(simulate(lambda: jobs.pop() if jobs else None, 1))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("raised", "expected", "said"),
    [
        (DataError("a bad file"), DataError, "^a bad file$"),
        (KeyError("place"), WorkerError, "KeyError: 'place'"),
    ],
)
def test_a_job_that_raises_ends_the_others(raised: Exception, expected: type[Exception], said: str):
    jobs = [Call(time.sleep, (60,)), Call(_raise, (raised,))]
    began = time.monotonic()
    with pytest.raises(expected, match=said):
        list(simulate(lambda: jobs.pop() if jobs else None, 2))
    assert time.monotonic() - began < 30


def _die_the_first_time(begun: Path) -> int:
    with begun.open("a") as file:
        file.write("again\n")
    if begun.read_text() == "again\n":
        os.kill(os.getpid(), signal.SIGKILL)
    return len(begun.read_text().splitlines())


def _raise(error: Exception) -> None:
    raise error


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
