"""The harness vla-eval gets the chunks that a policy gives, over its own protocol.

vla-eval is not among the packages of `constraints.txt`, though it installs beside them: pip install -c constraints.txt
'.[libero,mini,vla-eval]' pytest, then pytest -m vla_eval.
"""

import asyncio
import dataclasses
import importlib.util
import json
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from focusvla.cli import main
from focusvla.data.transforms import resize_picture
from focusvla.errors import ConfigurationError
from focusvla.policy import FocusVLAPolicy, load_policy
from focusvla.presets import fitted, tiny
from focusvla.suites.aloha import aloha_spec
from focusvla.suites.libero import libero_spec
from focusvla_client import Observation, SpecMismatchError
from untrained_checkpoints import write_checkpoint

pytestmark = [
    pytest.mark.vla_eval,
    pytest.mark.skipif(
        importlib.util.find_spec("vla_eval") is None,
        reason="needs vla-eval: pip install -c constraints.txt '.[libero,mini,vla-eval]'",
    ),
    # Warnings of the harness and of what it imports are not ours to fix.
    pytest.mark.filterwarnings("default"),
]

VOCABULARY = ("pick", "place", "the")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("served") / "tiny", tiny(), libero_spec(32), VOCABULARY)


@pytest.fixture
def policy(checkpoint) -> FocusVLAPolicy:
    return load_policy(checkpoint)


def shown(seed: int, size: int = 256) -> dict[str, Any]:
    """An observation of the harness's LIBERO benchmark."""
    rng = np.random.default_rng(seed)
    return {
        "images": {name: rng.integers(0, 256, (size, size, 3), np.uint8) for name in ("agentview", "wrist")},
        "task_description": ("pick the bowl", "place the cup")[seed % 2],
        "states": rng.normal(size=8),
        "controller_states": rng.normal(size=8).astype(np.float32),
    }


def as_ours(observation: dict[str, Any], size: int = 32) -> Observation:
    images = {
        ours: resize_picture(observation["images"][theirs], size)
        for ours, theirs in (("image", "agentview"), ("image2", "wrist"))
    }
    return Observation(images, observation["states"].astype(np.float32), observation["task_description"])


def serve(policy: FocusVLAPolicy, **options: Any) -> Any:
    from focusvla.serving.vla_eval import VLAEvalServer

    return VLAEvalServer(policy, **{"actions_per_inference": 3, **options})


def test_the_policy_answers_what_it_answers_for_the_same_observation_itself(policy):
    server = serve(policy)
    asked = [shown(seed) for seed in range(3)]
    (alone,) = (answer["actions"] for answer in server.predict_batch(asked[:1], [None]))
    np.testing.assert_array_equal(alone, policy.infer(as_ours(asked[0])))
    for answer, observation in zip(server.predict_batch(asked, [None] * 3), asked, strict=True):
        np.testing.assert_allclose(answer["actions"], policy.infer(as_ours(observation)), atol=1e-5)


def test_pictures_of_the_size_in_training_are_seen_as_they_are(policy):
    observation = shown(0, size=32)
    seen = serve(policy).to_observation(observation)
    np.testing.assert_array_equal(seen.images["image2"], observation["images"]["wrist"])


def test_conventions_are_declared_as_the_benchmark_declares_its_own(policy):
    from vla_eval.benchmarks.libero.benchmark import LIBEROBenchmark  # pyright: ignore[reportMissingImports]
    from vla_eval.specs import check_specs  # pyright: ignore[reportMissingImports]

    server = serve(policy)
    parameters = server.get_observation_params()
    assert parameters == {
        "send_wrist_image": True,
        "send_state": True,
        "env_seed": 0,
        "quat_no_antipodal": True,
    }
    benchmark = LIBEROBenchmark(**parameters)
    assert not check_specs(
        server.get_action_spec(),
        benchmark.get_action_spec(),
        server.get_observation_spec(),
        benchmark.get_observation_spec(),
    )


def test_a_policy_of_another_robot_is_refused_with_every_difference(tmp_path):
    spec = aloha_spec(32)
    folder = write_checkpoint(tmp_path / "aloha", fitted(tiny(), spec), spec, VOCABULARY)
    with pytest.raises(
        SpecMismatchError, match=r"the policy and LIBERO differ in 8 convention.*control_rate_hz"
    ):
        serve(load_policy(folder))


def test_the_command_refuses_it_with_one_message(tmp_path, capsys):
    spec = dataclasses.replace(libero_spec(32), control_rate_hz=10.0)
    folder = write_checkpoint(tmp_path / "slow", tiny(), spec, VOCABULARY)
    with pytest.raises(SystemExit) as stopped:
        main(["serve-vla-eval", str(folder), "--actions-per-inference", "4"])
    assert stopped.value.code == 2
    assert "control_rate_hz: 10.0 against 20.0" in capsys.readouterr().err


def test_more_actions_than_a_chunk_has_are_refused(policy):
    with pytest.raises(
        ConfigurationError, match=r"actions_per_inference=8: expected 1\.\.4, the policy's chunk"
    ):
        serve(policy, actions_per_inference=8)


@pytest.mark.parametrize(
    ("part", "value", "complaint"),
    [
        ("states", None, "states: expected it in an observation of LIBERO"),
        ("states", np.zeros(7), r"observation.state: expected 8 numbers .* got shape \(7,\)"),
        ("images", {"agentview": np.zeros((9, 9, 3), np.uint8)}, r"images\['wrist'\]: .* got none"),
        (
            "images",
            {"agentview": np.zeros((9, 8, 3), np.uint8)},
            r"images\['agentview'\]: .* got \(9, 8, 3\) uint8",
        ),
    ],
)
def test_what_is_wrong_with_an_observation_is_named(part, value, complaint, policy):
    observation = {**shown(0), part: value}
    if value is None:
        del observation[part]
    with pytest.raises(ConfigurationError, match=complaint):
        serve(policy).predict_batch([observation], [None])


@pytest.fixture(scope="module")
def url(checkpoint) -> Iterator[str]:
    """Of the command, in a process of its own, as users start it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "focusvla", "serve-vla-eval", str(checkpoint), "--port", str(port)]
    process = subprocess.Popen([*command, "--actions-per-inference", "3", "--max-batch", "2"])
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process)
        yield f"ws://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def wait_for(address: str, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while True:
        try:
            urllib.request.urlopen(address, timeout=5).close()
            return
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)


async def ask(url: str, asked: list[dict[str, Any]]) -> list[np.ndarray]:
    """The actions of an episode of the harness's own client."""
    from vla_eval.connection import Connection  # pyright: ignore[reportMissingImports]

    async with Connection(url) as connection:
        await connection.start_episode({"task": {"name": "pick"}})
        return [(await connection.act(observation))["actions"] for observation in asked]


@pytest.mark.slow
def test_the_harness_gets_each_chunks_first_actions_one_by_one_in_every_session(url, policy):
    async def ask_in_two_sessions() -> Sequence[list[np.ndarray]]:
        return await asyncio.gather(
            ask(url, [shown(seed) for seed in range(6)]), ask(url, [shown(seed) for seed in range(10, 16)])
        )

    for played, first in zip(asyncio.run(ask_in_two_sessions()), (0, 10), strict=True):
        chunks = [policy.infer(as_ours(shown(first + step))) for step in (0, 3)]
        np.testing.assert_allclose(played, np.concatenate([chunk[:3] for chunk in chunks]), atol=1e-5)


@pytest.mark.slow
def test_after_an_error_the_session_goes_on(url, policy):
    from vla_eval.connection import Connection  # pyright: ignore[reportMissingImports]

    async def ask_wrongly_first() -> np.ndarray:
        async with Connection(url) as connection:
            await connection.start_episode({"task": {"name": "pick"}})
            with pytest.raises(RuntimeError, match=r"images\['wrist'\]: expected a square picture"):
                await connection.act({**shown(0), "images": {"agentview": shown(0)["images"]["agentview"]}})
            return (await connection.act(shown(0)))["actions"]

    np.testing.assert_allclose(
        asyncio.run(ask_wrongly_first()), policy.infer(as_ours(shown(0)))[0], atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.simulator
def test_the_harness_plays_a_checkpoint_as_evaluate_does(tmp_path):
    experiment = fitted(tiny(), libero_spec(32), chunk_length=8)
    checkpoint = write_checkpoint(tmp_path / "tiny", experiment, libero_spec(32), VOCABULARY)
    script = Path(__file__).parents[2] / "benchmarks" / "vla_eval_agreement.py"
    options = ["--tasks", "libero_goal:0", "--trials", "2", "--max-steps", "16"]
    run = subprocess.run([sys.executable, script, checkpoint, *options], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    figures = json.loads(run.stdout.splitlines()[-1])
    assert (figures["episodes"], figures["equal"]) == (2, 2)
