"""An evaluation survives whatever is killed, on one host and on several, and ends as an undisturbed one."""

import dataclasses
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from focusvla.config import EvaluationConfig
from focusvla.errors import ConfigurationError
from focusvla.evaluation.evaluate import evaluate
from focusvla.evaluation.merge import merge_evaluations
from focusvla.evaluation.policies import checkpoint_source
from focusvla.evaluation.results import read_results
from focusvla_client import SpecMismatchError

pytestmark = [pytest.mark.simulator, pytest.mark.slow]

TRIALS = 6


def command(checkpoint: Path, output: Path) -> list[str]:
    """Episodes of 120 questions, so that a signal falls into one."""
    return [
        *(
            sys.executable,
            "-m",
            "focusvla",
            "evaluate",
            "--checkpoint",
            str(checkpoint),
            "--output",
            str(output),
        ),
        *("--suites", "reach", "--tasks", "0", "--protocol", "reach_long", "--trials", str(TRIALS)),
        *("--actions-per-inference", "1", "--workers", "2", "--stall-seconds", "8", "--no-videos"),
    ]


def outcomes(output: Path) -> list[tuple[int, bool, int, str]]:
    return sorted((r.trial, r.success, r.steps, r.error) for r in read_results(output / "results.jsonl"))


def finished(output: Path) -> int:
    path = output / "results.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def incidents(output: Path) -> list[str]:
    path = output / "incidents.jsonl"
    return [json.loads(line)["what"] for line in path.read_text().splitlines()] if path.exists() else []


def wait_for(condition, run: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert run.poll() is None, "it ended before it could be disturbed"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def processes_of(run: subprocess.Popen) -> list[int]:
    """Pids of the policy and of the players, in the order in which they were started."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            line = (path / "cmdline").read_bytes()
        except (OSError, IndexError):
            continue
        if parent == run.pid and b"spawn_main" in line:
            found.append(int(path.name))
    return sorted(found)


@pytest.fixture(scope="module")
def undisturbed(blind_checkpoint, tmp_path_factory) -> list:
    output = tmp_path_factory.mktemp("undisturbed") / "results"
    subprocess.run(command(blind_checkpoint, output), check=True, capture_output=True)
    assert incidents(output) == []
    return outcomes(output)


def test_killed_and_wedged_players_a_killed_policy_and_a_killed_run_lose_and_repeat_nothing(
    blind_checkpoint, undisturbed, tmp_path
):
    output = tmp_path / "results"
    run = subprocess.Popen(command(blind_checkpoint, output), stderr=subprocess.PIPE, text=True)
    wait_for(lambda: finished(output) >= 1, run)
    policy, player, other = processes_of(run)
    os.kill(player, signal.SIGKILL)
    wait_for(lambda: "player died" in incidents(output), run)
    os.kill(policy, signal.SIGKILL)
    wait_for(lambda: "policy died" in incidents(output), run)
    os.kill(other, signal.SIGSTOP)  # as a simulator that never comes back
    wait_for(lambda: "player stalled" in incidents(output), run)
    assert not Path(f"/proc/{other}").exists()
    wait_for(lambda: finished(output) >= 3, run)
    left = processes_of(run)
    run.send_signal(signal.SIGKILL)
    assert run.stderr is not None
    run.stderr.close()
    run.wait()
    deadline = time.monotonic() + 60  # who builds an environment notices at its end
    while any(Path(f"/proc/{pid}").exists() for pid in left):
        assert time.monotonic() < deadline, "processes outlive the run"
        time.sleep(0.1)
    with (output / "results.jsonl").open("a") as file:
        file.write('{"suite": "reach", "tas')  # as a kill within a write leaves it
    again = subprocess.run(command(blind_checkpoint, output), capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "removed an incomplete last line of 23 bytes" in again.stderr
    assert outcomes(output) == undisturbed
    assert [trial for trial, *_ in undisturbed] == list(range(TRIALS))


def test_parts_on_several_hosts_are_the_whole(blind_checkpoint, tmp_path):
    source = checkpoint_source(blind_checkpoint)

    def play(name: str, **options) -> list:
        config = EvaluationConfig(
            suites=("reach",),
            tasks=(0, 1),
            trials=2,
            actions_per_inference=4,
            workers=1,
            videos=False,
            **options,
        )
        evaluate(source, config, tmp_path / name)
        return sorted(
            (r.task, *rest)
            for r in read_results(tmp_path / name / "results.jsonl")
            for rest in [(r.trial, r.success, r.steps)]
        )

    whole = play("whole")
    parts = [play(f"part-{shard}", shard=shard, num_shards=2) for shard in range(2)]
    assert [len(part) for part in parts] == [2, 2]
    assert json.loads((tmp_path / "whole/protocol.json").read_text())["device"] == "cpu"
    assert sorted(parts[0] + parts[1]) == whole
    assert merge_evaluations([tmp_path / "part-0", tmp_path / "part-1"], tmp_path / "merged") == (4, 4)
    assert outcomes(tmp_path / "merged") == outcomes(tmp_path / "whole")
    assert len(list((tmp_path / "merged" / "trajectories").iterdir())) == 4
    with pytest.raises(ConfigurationError, match="num_shards=3: expected at most 2, the tasks to share out"):
        play("too-many", num_shards=3)


def test_a_policy_for_another_robot_is_refused_before_the_first_episode(blind_checkpoint, tmp_path):
    with pytest.raises(
        SpecMismatchError, match=r"differ in 7 convention\(s\).*state.*action.*gripper.*control_rate"
    ):
        evaluate(
            checkpoint_source(blind_checkpoint),
            EvaluationConfig(tasks=(2,), trials=1, actions_per_inference=4),
            tmp_path / "results",
        )
    assert not (tmp_path / "results").exists()


def test_a_folder_of_other_rules_or_in_use_is_refused_and_stays_as_it_is(blind_checkpoint, tmp_path):
    source, output = checkpoint_source(blind_checkpoint), tmp_path / "results"
    config = EvaluationConfig(
        suites=("reach",), tasks=(0,), protocol="reach_long", trials=1, actions_per_inference=4, workers=1
    )
    evaluate(source, config, output)
    assert len(list((output / "videos").iterdir())) == 1
    held = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    for change, message in (
        ({"actions_per_inference": 2}, "actions_per_inference=4, this evaluation has 2"),
        ({"suites": ("libero_object",), "protocol": "libero_openvla"}, "differ in 7 convention"),
    ):
        with pytest.raises((ConfigurationError, SpecMismatchError), match=message):
            evaluate(source, dataclasses.replace(config, **change), output)
    rules = output / "protocol.json"
    rules.write_text(rules.read_text().replace('"settle_steps": 1', '"settle_steps": 5'))
    with pytest.raises(ConfigurationError, match=r"other rules .settle_steps: 5 there, 1 here"):
        evaluate(source, config, output)
    rules.write_bytes(held[rules])
    rules.write_text(rules.read_text().replace('"settle_steps"', '"fewer_triangles": true, "settle_steps"'))
    with pytest.raises(ConfigurationError, match=r"other rules .fewer_triangles: True there"):
        evaluate(source, config, output)
    rules.write_bytes(held[rules])
    with (output / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ConfigurationError, match="another evaluation is writing there"):
            evaluate(source, config, output)
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == held


def test_a_machine_that_cannot_play_gives_no_score_and_the_same_command_plays_once_it_can(
    blind_checkpoint, tmp_path
):
    output = tmp_path / "results"
    play = [*command(blind_checkpoint, output), "--trials", "2", "--actions-per-inference", "4"]
    broken = subprocess.run(
        play, capture_output=True, text=True, env={**os.environ, "REACH_IS_BROKEN": "yes"}
    )
    assert broken.returncode == 2
    assert (
        "2 of 2 episode(s) broke, and none was played: RuntimeError: no cache can be written" in broken.stderr
    )
    played = subprocess.run(play, capture_output=True, text=True)
    assert played.returncode == 0, played.stderr
    assert "plays again what broke: 2 episode(s)" in played.stderr
    assert [result.error for result in read_results(output / "results.jsonl")] == ["", ""]
    assert len(read_results(output / "broken.jsonl")) == 2


CLUSTER = """
import os, signal, sys, threading, time
from pathlib import Path
import ray
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1)
from focusvla.config import EvaluationConfig
from focusvla.evaluation.evaluate import evaluate
from focusvla.evaluation.policies import checkpoint_source
from focusvla.evaluation.ray_actors import RaySystem

class Where:
    def where(self):
        return ray.get_runtime_context().get_node_id(), os.getpid()

system = RaySystem(cluster.address)
actors = [system.start(Where) for _ in range(2)]
found = []
for actor in actors:
    actor.call("where")
while len(found) < 2:
    for actor, answer in system.wait([a for a in actors if a.pending is not None], 60.0):
        found.append(answer.value)
        actor.pending = None
assert len({node for node, _ in found}) == 2, "both hosts simulate"
assert system.num_cores() == 2
for actor in actors:
    actor.kill()

def disturb():
    results = Path(sys.argv[2]) / "results.jsonl"
    while not results.exists() or results.read_text().count(chr(10)) < 2:
        time.sleep(0.01)
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "cmdline").read_bytes().startswith(b"ray::_Host"):
                players.append(int(path.name))
        except OSError:
            pass
    os.kill(max(players), signal.SIGKILL)

players = []
threading.Thread(target=disturb, daemon=True).start()
config = EvaluationConfig(suites=("reach",), tasks=(0,), protocol="reach_long", trials=int(sys.argv[3]),
    actions_per_inference=1, videos=False, executor="ray", ray_address=cluster.address)
evaluate(checkpoint_source(Path(sys.argv[1])), config, Path(sys.argv[2]))
assert players
ray.shutdown()  # before the hosts go, or the lost results end this process
cluster.shutdown()
"""


@pytest.mark.long
def test_a_ray_cluster_of_two_nodes_plays_the_same_episodes_also_when_one_process_is_killed(
    blind_checkpoint, undisturbed, tmp_path
):
    pytest.importorskip("ray")
    output = tmp_path / "results"
    played = subprocess.run(
        [sys.executable, "-c", CLUSTER, str(blind_checkpoint), str(output), str(TRIALS)],
        capture_output=True,
        text=True,
        env={**os.environ, "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"},
    )
    assert played.returncode == 0, played.stderr[-3000:]
    assert outcomes(output) == undisturbed
    assert incidents(output) in (["player died"], ["policy died"])
