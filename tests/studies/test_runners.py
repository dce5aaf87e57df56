"""Commands of a study run, fail and end the same way on this host and behind an actor."""

import threading
import time
from pathlib import Path

import pytest

from focusvla.evaluation.ray_actors import RaySystem
from focusvla.simulation.actors import ProcessSystem
from focusvla.studies.runners import ActorRunner, LocalRunner
from focusvla.studies.work import slots_of


@pytest.fixture(params=["here", "process", pytest.param("ray", marks=pytest.mark.slow)])
def runner(request):
    if request.param == "here":
        yield LocalRunner()
        return
    if request.param == "ray":
        pytest.importorskip("ray")
    system = ProcessSystem() if request.param == "process" else RaySystem()
    yield ActorRunner(system, num_gpus=0)
    system.close()


def test_commands_run_one_after_the_other_and_the_first_that_fails_is_the_last(runner, tmp_path: Path):
    log = tmp_path / "logs" / "one-*.log"
    assert runner.run([["completion", "bash"]], {"NO_COLOR": "1"}, log) == ""
    assert "focusvla" in (tmp_path / "logs" / "one-completion.log").read_text()
    said = runner.run([["completion", "no-shell"], ["describe", "mini"]], {}, log)
    assert said.startswith("`focusvla completion`: ")
    assert said.endswith(f"(see {tmp_path / 'logs' / 'one-completion.log'})")
    assert not (tmp_path / "logs" / "one-describe.log").exists()


def test_what_is_stopped_ends_with_all_that_it_began(runner, tmp_path: Path):
    log = tmp_path / "one-*.log"
    done = threading.Thread(target=runner.run, args=([["completion", "bash"]] * 500, {}, log), daemon=True)
    done.start()
    while not (tmp_path / "one-completion.log").exists():
        time.sleep(0.05)
    runner.stop()
    done.join(30)
    assert not done.is_alive()


def test_a_training_has_a_gpu_of_its_own_or_a_core():
    assert [slot.variables for slot in slots_of(2, 16)] == [
        {"CUDA_VISIBLE_DEVICES": "0"},
        {"CUDA_VISIBLE_DEVICES": "1"},
    ]
    assert [slot.evaluation_arguments for slot in slots_of(2, 16)] == [("--workers", "8")] * 2
    assert [slot.variables for slot in slots_of(2, 16, of_cluster=True)] == [{}] * 2
    assert len(slots_of(4, 16, 2)) == 2
    assert [slot.training_arguments for slot in slots_of(0, 3)] == [("--threads", "1")] * 3
    assert len(slots_of(0, 3, 1)) == 1
