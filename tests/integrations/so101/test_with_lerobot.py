"""The README's commands, with LeRobot's own classes on the simulated arm: recorded, trained, served, run."""

import importlib.util
import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.lerobot,
    pytest.mark.skipif(
        not all(map(importlib.util.find_spec, ("lerobot", "scservo_sdk", "deepdiff"))),
        reason="needs lerobot[core_scripts,dataset,feetech] 0.6 in an environment of its own",
    ),
]
PORT = 8177
ROBOT = (
    "--robot.discover_packages_path=focusvla_so101.simulated",
    "--robot.type=so101_simulated",
    "--robot.id=mine",
)
LEADER = ("--teleop.type=so101_leader_simulated", "--teleop.id=mine")


def test_from_demonstrations_to_a_policy_that_moves_the_arm(tmp_path: Path):
    integration = Path(__file__).parents[3] / "integrations/so101"
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_LEROBOT_HOME": str(tmp_path / "lerobot")}
    environment["PYTHONPATH"] = os.pathsep.join([str(integration), os.environ.get("PYTHONPATH", "")])
    data, run = tmp_path / "cups", tmp_path / "run"

    def command(*words: str, code: int = 0) -> str:
        ended = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode == code, ended.stdout + ended.stderr
        return ended.stdout + ended.stderr

    def so101(*words: str, code: int = 0) -> str:
        return command(sys.executable, "-m", "focusvla_so101", *words, code=code)

    record = str(Path(sys.executable).parent / "lerobot-record")
    dataset = [
        f"--dataset.{each}" for each in ("repo_id=me/cups", f"root={data}", "single_task=stack the cups")
    ]
    dataset += ["--dataset.num_episodes=2", "--dataset.episode_time_s=3", "--dataset.reset_time_s=0"]
    quiet = ["--dataset.push_to_hub=false", "--play_sounds=false", "--display_data=false"]
    command(record, *ROBOT, *LEADER, *dataset, *quiet)
    so101("spec", *ROBOT, f"--output={data / 'meta/spec.json'}")
    spec = json.loads((data / "meta/spec.json").read_text())
    assert (spec["action_space"], len(spec["action"])) == ("joint_position_degrees", 6)
    assert "shoulder_pan.pos: 0.0, a policy may go from -114.5 to 114.5" in so101("look", *ROBOT)
    assert "expected degrees" in so101("look", *ROBOT, "--robot.use_degrees=false", code=2)
    focusvla = [sys.executable, "-m", "focusvla"]
    command(
        *focusvla,
        "train",
        "tiny",
        "--data",
        str(data),
        "--output",
        str(run),
        "--steps",
        "5",
        "--chunk-length",
        "16",
    )
    serve = subprocess.Popen([*focusvla, "serve", str(run), "--port", str(PORT)], env=environment)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{PORT}/healthz").close()
                break
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.5)
        asked = (*ROBOT, f"--port={PORT}", "--instruction=stack the cups", "--seconds=3", "--speed_share=1.0")
        assert "Dry run:" in so101("run", *asked)
        moved = re.search(r"Moved (\d+) steps.* Ended by max_steps", so101("run", *asked, "--move=true"))
        assert moved
        assert int(moved[1]) > 60
        assert "instruction: expected the task in words" in so101("run", *ROBOT, f"--port={PORT}", code=2)
    finally:
        serve.terminate()
        serve.wait()
