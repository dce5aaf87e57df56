"""A recording survives whatever is killed, and ends as an undisturbed one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from reach.suite import reach_spec

from focusvla.data.formats.lerobot_reader import LeRobotSource
from focusvla.presets import fitted, preset
from untrained_checkpoints import write_checkpoint

EPISODES = 200
IN_REACH = "--suite reach --tasks 0 --workers 2 --image-size 32"
DEMONSTRATE = f"demonstrate {IN_REACH} --episodes-per-task {EPISODES}"
CORRECT = (
    f"correct policy {IN_REACH} --attempts-per-task {EPISODES} --policy-steps 1 6 --regardless --device cpu"
)


def vectors(path: Path) -> list[tuple[bytes, bytes, str]]:
    source = LeRobotSource(path)
    return [
        (episode.state.tobytes(), episode.action.tobytes(), episode.instruction)
        for episode in map(source.episode, range(source.num_episodes))
    ]


def workers_of(process: subprocess.Popen) -> list[int]:
    children = subprocess.run(
        ["ps", "-ww", "-o", "pid=", "-o", "args=", "--ppid", str(process.pid)],
        capture_output=True,
        text=True,
        check=True,
    )
    return [int(line.split()[0]) for line in children.stdout.splitlines() if "spawn_main" in line]


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [DEMONSTRATE, CORRECT], ids=lambda line: line.split()[0])
def test_a_killed_worker_is_replaced_and_a_killed_recording_goes_on_and_ends_as_an_undisturbed_one(
    arguments, tmp_path
):
    write_checkpoint(tmp_path / "policy", fitted(preset("tiny"), reach_spec(32)), reach_spec(32), ("reach",))

    def start(output: Path) -> subprocess.Popen:
        command = [sys.executable, "-m", "focusvla", *arguments.split(), "--output", str(output)]
        return subprocess.Popen(command, cwd=tmp_path)

    undisturbed = start(tmp_path / "undisturbed")
    output, episodes = tmp_path / "disturbed", tmp_path / "disturbed.recording" / "episodes"

    def wait_for(count: int, process: subprocess.Popen) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and len(list(episodes.glob("reach-*"))) < count:
            assert process.poll() is None
            time.sleep(0.01)

    process = start(output)
    wait_for(2, process)
    os.kill(workers_of(process)[0], signal.SIGKILL)
    wait_for(6, process)
    orphans = workers_of(process)
    process.kill()
    process.wait()
    assert not output.exists()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() for pid in orphans) and time.monotonic() < deadline:
        time.sleep(0.1)
    process = start(output)
    wait_for(10, process)
    os.kill(workers_of(process)[0], signal.SIGKILL)
    assert process.wait() == 0
    assert undisturbed.wait() == 0
    assert vectors(output) == vectors(tmp_path / "undisturbed")
    assert not episodes.exists()
    (record,) = [*output.glob("meta/demonstrations.json"), *output.glob("meta/corrections.json")]
    assert json.loads(record.read_text())["tasks"]["0"]["kept"] > 0.9 * EPISODES
