"""Policies that are no checkpoint of ours, behind openpi's protocol or in a Python class, are evaluated as ours are."""

import contextlib
import dataclasses
import json
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reach.suite import reach_spec
from safetensors.numpy import load_file
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

from focusvla.cli import main
from focusvla.config import EvaluationConfig
from focusvla.data.memory import random_source
from focusvla.errors import ConfigurationError, WorkerError
from focusvla.evaluation.episodes import PlannedEpisode, Question
from focusvla.evaluation.foreign import PythonPolicy, foreign_source
from focusvla.evaluation.results import read_results
from focusvla.evaluation.served import ServedPolicy
from focusvla.presets import fitted, preset
from focusvla.suites.libero import libero_spec
from focusvla.training.trainer import train
from focusvla_client import Observation, Spec
from focusvla_client.wire import pack, unpack
from serving_policies import ServerProcess

SCRIPTED = '''
import numpy as np

class Follows:
    """Moves to where the upper picture shows the red disc."""
    cameras = ("image",)
    chunk_length = 4
    remembers = False

    def reset(self):
        pass

    def infer(self, observation):
        rows, columns = np.nonzero((observation.images["image"] == (220, 40, 40)).all(-1))
        here = observation.state
        there = here if not len(rows) else (np.array([columns.mean(), rows.mean()]) + 0.5) / 32
        steps = np.clip((there - here) / 0.05 / 4, -1, 1)
        return np.tile(steps, (4, 1)).astype(np.float32)

class Counts(Follows):
    """Its answers depend on how many it gave in the episode."""
    remembers = True

    def reset(self):
        self.count = 0

    def infer(self, observation):
        self.count += 1
        return np.full((4, 2), self.count / 100, np.float32)

class NotFinite(Follows):
    def infer(self, observation):
        return np.full((4, 2), np.nan, np.float32)
class TooLarge(Follows):
    def infer(self, observation):
        return np.full((4, 2), 200, np.float32)
class ThreeNumbers(Follows):
    def infer(self, observation):
        return np.zeros((4, 3), np.float32)
class TooFew(Follows):
    def infer(self, observation):
        return np.zeros((3, 2), np.float32)
class Says(Follows):
    def infer(self, observation):
        return "left"
class NoLength:
    cameras = ()
    def reset(self): pass
    def infer(self, observation): pass
class OtherCamera(Follows):
    cameras = ("front",)
'''


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with the module `scripted`, in which commands are typed."""
    (tmp_path / "scripted.py").write_text(SCRIPTED)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(line: str, code: int = 0) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(line.split())
    assert stopped.value.code == code


def played(folder: str) -> list[tuple]:
    results = read_results(Path(folder) / "results.jsonl")
    return sorted((r.task, r.trial, r.condition, r.success, r.steps, r.inferences, r.error) for r in results)


REACH = "--suites reach --tasks 0 --trials 2 --workers 1 --no-videos"


@pytest.mark.slow
def test_a_class_is_evaluated_and_the_same_command_resumes_and_another_class_is_refused(here, capsys):
    run(f"evaluate --policy scripted:Follows --output out {REACH} --controls vision_blind language_blind")
    by_condition = {row[:3]: row[3] for row in played("out")}
    assert by_condition[0, 0, ""]
    assert by_condition[0, 0, "language_blind"]  # it does not read
    assert not by_condition[0, 0, "vision_blind"]
    said = json.loads((here / "out/protocol.json").read_text())
    assert (said["policy"], said["cameras"], said["chunk_length"]) == ("scripted:Follows", ["image"], 4)
    assert Spec.from_dict(said["conventions"]) == reach_spec(32)

    before = (here / "out/results.jsonl").read_text()
    run(f"evaluate --policy scripted:Follows --output out {REACH}")
    assert (here / "out/results.jsonl").read_text() == before
    run(f"evaluate --policy other=scripted:Follows --output out {REACH}", code=2)
    assert "other" in capsys.readouterr().err
    run(f"evaluate --policy scripted:Counts --output out {REACH}", code=2)
    assert "scripted.Counts-" in capsys.readouterr().err

    capsys.readouterr()
    run(f"diagnose --policy scripted:Follows --output out {REACH} --json")
    found = json.loads(capsys.readouterr().out)
    assert {control: measured["success"]["successes"] for control, measured in found.items()} == {
        "": 2,
        "language_blind": 2,
        "vision_blind": 0,
    }
    run("report --output report.html --results out")
    assert "scripted:Follows" in (here / "report.html").read_text()


def question(spec: Spec, inference: int = 0, trial: int = 0) -> Question:
    images = {camera.name: np.full((camera.height, camera.width, 3), 7, np.uint8) for camera in spec.cameras}
    observation = Observation(images, np.zeros(len(spec.state), np.float32), "reach the red disc")
    return Question(PlannedEpisode("reach", 0, trial), inference, observation)


def scripted(name: str, folder: Path) -> PythonPolicy:
    return PythonPolicy("scripted", name, str(folder), ("reach",), "")


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("NotFinite", "finite"),
        ("TooLarge", "about -1 to 1 .* got up to 200 in x, y"),
        ("ThreeNumbers", r"\(steps, 2\).* got \(4, 3\)"),
        ("TooFew", "expected 4 actions .* got 3"),
        ("Says", "array of floating point, got 'left'"),
    ],
)
def test_an_answer_that_is_no_chunk_is_named(name, complaint, here):
    with pytest.raises(ConfigurationError, match=complaint):
        scripted(name, here).infer([question(reach_spec(32))])


@pytest.mark.parametrize(
    ("name", "complaint"), [("NoLength", "chunk_length"), ("OtherCamera", "image, image2, got front")]
)
def test_a_class_without_a_part_of_the_protocol_is_named(name, complaint, here):
    with pytest.raises(ConfigurationError, match=complaint):
        scripted(name, here)


def test_a_class_that_remembers_is_reset_at_an_episodes_start_and_answers_one_episode_at_a_time(here):
    policy, spec = scripted("Counts", here), reach_spec(32)
    answers = [policy.infer([question(spec, inference)])[0][0, 0] for inference in (0, 1, 0)]
    assert answers == pytest.approx([0.01, 0.02, 0.01])
    with pytest.raises(RuntimeError, match="in the middle of an episode"):
        policy.infer([question(spec, inference=1, trial=1)])
    one_player = foreign_source("scripted:Counts", EvaluationConfig(suites=("reach",)))
    assert one_player.max_players == 1
    with pytest.raises(ConfigurationError, match="remembers"):
        foreign_source("scripted:Counts", EvaluationConfig(suites=("reach",), workers=2))


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ("", "either --checkpoint or --policy, got neither"),
        ("--policy scripted:Follows --checkpoint run", "got both"),
        ("--policy scripted:Missing", "expected a class Missing"),
        ("--policy missing_module:Follows", "missing_module"),
        ("--policy ws://host:1", "expected websocket://HOST:PORT, MODULE:CLASS or lerobot:FOLDER"),
        pytest.param(
            *("--policy lerobot:folder", "needs the lerobot library"),
            marks=pytest.mark.skipif(find_spec("lerobot") is not None, reason="lerobot is here"),
        ),
        ("--policy websocket://host", "expected websocket://HOST:PORT"),
        ("--policy scripted:Follows --statistics a", "statistics: expected none with --policy"),
        ("--policy a/b=scripted:Follows", "policy: expected NAME= of letters"),
        ("--policy scripted:Follows --controls vision_silenced", "Nothing inside a policy of --policy"),
        ("--policy scripted:Follows --actions-per-inference 5", "at most the policy's chunk of 4"),
    ],
)
def test_what_cannot_be_meant_is_told_before_anything_is_played(flags, complaint, here, capsys):
    run(f"evaluate {flags} --output out {REACH}", code=2)
    assert complaint in " ".join(capsys.readouterr().err.split())
    assert not (here / "out").exists()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A `tiny` policy that sees the small world of `tests/reach`."""
    folder, source = tmp_path_factory.mktemp("seeing"), random_source(reach_spec(32), (12, 12))
    experiment = fitted(preset("tiny"), source.spec)
    training = dataclasses.replace(experiment.training, steps=2)
    experiment = dataclasses.replace(experiment, training=training)
    return train(experiment, source, folder / "run", cache_folder=folder / "cache")


@pytest.mark.slow
def test_a_checkpoint_plays_the_same_episodes_served_as_it_does_itself(checkpoint, here):
    run(f"evaluate --checkpoint {checkpoint} --output own {REACH} --device cpu")
    with ServerProcess(checkpoint, "--device", "cpu") as server:
        address = server.address.replace("ws://", "websocket://")
        run(f"evaluate --policy {address} --output served {REACH}")
    assert played("served") == played("own")
    files = sorted((here / "own/trajectories").iterdir())
    assert len(files) == 2
    for file in files:
        own, served = load_file(file), load_file(here / "served/trajectories" / file.name)
        assert {name: value.tobytes() for name, value in own.items()} == {
            name: value.tobytes() for name, value in served.items()
        }


@contextlib.contextmanager
def openpi_server(answer: Callable[[dict, ServerConnection], Any], metadata: Any = None) -> Iterator[int]:
    """As openpi's own: metadata that say nothing, then `answer(request, connection)` packed, or sent as it is if text."""

    def converse(connection: ServerConnection) -> None:
        connection.send(pack({} if metadata is None else metadata))
        with contextlib.suppress(ConnectionClosed):
            for frame in connection:
                assert isinstance(frame, bytes)
                reply = answer(unpack(frame), connection)
                connection.send(reply if isinstance(reply, str) else pack(reply))

    with serve(converse, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.socket.getsockname()[1]
        finally:
            server.shutdown()
            thread.join()


LIBERO = ("libero_goal",)


def test_a_server_that_says_nothing_is_sent_what_openpis_libero_client_sends():
    requests: list[dict] = []

    def answer(request: dict, connection: ServerConnection) -> dict:
        requests.append(request)
        return {"actions": np.full((10, 7), 0.5), "state": request["observation/state"]}

    with openpi_server(answer) as port:
        policy = ServedPolicy("127.0.0.1", port, LIBERO, "")
        chunks = policy.infer([question(libero_spec(224))])
    traits = policy.traits()
    assert (traits.spec, traits.chunk_length) == (libero_spec(224), 10)
    assert str(traits.identity).startswith("answers-")
    assert chunks[0].shape == (10, 7)
    sent = requests[-1]
    assert set(sent) == {"observation/image", "observation/wrist_image", "observation/state", "prompt"}
    assert (sent["observation/image"].shape, sent["observation/image"].dtype) == ((224, 224, 3), np.uint8)
    assert sent["observation/state"].shape == (8,)
    assert sent["prompt"] == "reach the red disc"


def test_a_server_that_draws_its_answers_needs_a_name():
    rng = np.random.default_rng(0)
    with openpi_server(lambda request, connection: {"actions": rng.random((10, 7))}) as port:
        with pytest.raises(ConfigurationError, match="policy: expected a name"):
            ServedPolicy("127.0.0.1", port, LIBERO, "")
        assert str(ServedPolicy("127.0.0.1", port, LIBERO, "pi0-libero").traits().identity) == "pi0-libero"


@pytest.mark.parametrize(
    ("reply", "error", "complaint"),
    [
        ({"actions": np.zeros((10, 32))}, ConfigurationError, r"\(steps, 7\).* got \(10, 32\)"),
        ({"actions": np.full((10, 7), np.nan)}, ConfigurationError, "finite"),
        ({"actions": np.full((10, 7), 128.0)}, ConfigurationError, "unnormalized"),
        ({"action": np.zeros((10, 7))}, ConfigurationError, "expected an array of floating point, got None"),
        ([1], ConfigurationError, "expected a map, got list"),
        ("Traceback: out of memory", WorkerError, "the server says: .*out of memory"),
    ],
)
def test_a_bad_answer_of_a_server_is_told_in_a_sentence(reply, error, complaint):
    with (
        openpi_server(lambda request, connection: reply) as port,
        pytest.raises(error, match=complaint),
    ):
        ServedPolicy("127.0.0.1", port, LIBERO, "")


def test_conventions_are_not_guessed_for_other_suites_than_liberos():
    with (
        openpi_server(lambda request, connection: {"actions": np.zeros((4, 2))}) as port,
        pytest.raises(ConfigurationError, match=r"says no conventions.* got reach"),
    ):
        ServedPolicy("127.0.0.1", port, ("reach",), "")


@pytest.mark.slow
def test_a_server_that_is_gone_ends_the_evaluation_and_the_same_command_resumes_it(checkpoint, here, capsys):
    with ServerProcess(checkpoint, "--device", "cpu") as server:
        address = server.address.replace("ws://", "websocket://")
        run(f"evaluate --policy {address} --output out {REACH.replace('--trials 2', '--trials 1')}")
    run(f"evaluate --policy {address} --output out {REACH}", code=2)
    told = " ".join(capsys.readouterr().err.split())
    assert "not reachable" in told
    assert "the same command goes on" in told
    assert len(played("out")) == 1
    with ServerProcess(checkpoint, "--device", "cpu", port=int(address.rpartition(":")[2])):
        run(f"evaluate --policy {address} --output out {REACH}")
    assert [row[-1] for row in played("out")] == ["", ""]


def test_a_server_that_dies_between_two_answers_is_looked_for_and_then_told_of():
    answered: list[dict] = []

    def answer(request: dict, connection: ServerConnection) -> dict:
        answered.append(request)
        return {"actions": np.zeros((10, 7))}

    with openpi_server(answer) as port:
        policy = ServedPolicy("127.0.0.1", port, LIBERO, "")
        policy.infer([question(libero_spec(224))])
    with pytest.raises(WorkerError, match=r"not reachable in 5 attempt.*the same command goes on"):
        policy.infer([question(libero_spec(224))])
    assert len(answered) == 3


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ("--output out", "a checkpoint or --policy, got neither"),
        ("run --policy scripted:Follows --output out", "got both"),
        ("--policy scripted:Follows --data data --output out", "no --data with --policy"),
    ],
)
def test_a_diagnosis_is_of_a_checkpoint_or_of_another_policy_played(flags, complaint, here, capsys):
    run(f"diagnose {flags}", code=2)
    assert complaint in " ".join(capsys.readouterr().err.split())
