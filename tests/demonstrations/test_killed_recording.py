"""A recording survives whatever is killed, and ends as an undisturbed one."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from focusvla.data.formats.lerobot_reader import LeRobotSource

EPISODES = 200
COMMAND = [
    *(sys.executable, "-m", "focusvla", "demonstrate", "--suite", "reach", "--tasks", "0", "--workers", "2"),
    *("--image-size", "32", "--episodes-per-task", str(EPISODES), "--output"),
]


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
def test_a_killed_worker_is_replaced_and_a_killed_recording_goes_on_and_ends_as_an_undisturbed_one(tmp_path):
    undisturbed = subprocess.Popen([*COMMAND, str(tmp_path / "undisturbed")])
    output, episodes = tmp_path / "disturbed", tmp_path / "disturbed.recording" / "episodes"

    def wait_for(count: int, process: subprocess.Popen) -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and len(list(episodes.glob("reach-*"))) < count:
            assert process.poll() is None
            time.sleep(0.01)

    process = subprocess.Popen([*COMMAND, str(output)])
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
    process = subprocess.Popen([*COMMAND, str(output)])
    wait_for(10, process)
    os.kill(workers_of(process)[0], signal.SIGKILL)
    assert process.wait() == 0
    assert undisturbed.wait() == 0
    assert vectors(output) == vectors(tmp_path / "undisturbed")
    assert not episodes.exists()
    assert json.loads((output / "meta" / "demonstrations.json").read_text())["tasks"]["0"]["kept"] == EPISODES
