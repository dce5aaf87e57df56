"""A policy of a mixture is in each suite the robot whose data was recorded there, or nothing is played at all."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from focusvla.cli import main
from focusvla.config import EvaluationConfig
from focusvla.errors import ConfigurationError
from focusvla.evaluation.episodes import PlannedEpisode, Question
from focusvla.evaluation.evaluate import evaluate
from focusvla.evaluation.identity import PolicyIdentity
from focusvla.evaluation.parts import choose_parts, identity_in_suite
from focusvla.evaluation.policies import CheckpointPolicy, checkpoint_source
from focusvla.evaluation.results import join_results, read_results
from focusvla.policy import load_policy
from focusvla_client import Observation

FOUR = [f"libero_{suite}_no_noops" for suite in ("spatial", "object", "goal", "10")]


@pytest.mark.parametrize(
    ("names", "suites", "given", "chosen"),
    [
        ([""], ["libero_goal", "libero_10"], [], {}),
        (["a"], ["libero_goal", "libero_10"], ["a"], {}),
        (FOUR, ["libero_goal", "libero_10"], [], {"libero_goal": FOUR[2], "libero_10": FOUR[3]}),
        (["libero_goal", "b"], ["libero_goal", "libero_goal_swap"], [], {"libero_goal": "libero_goal"}),
        (["libero_goal_swap", "b"], ["libero_goal_swap"], [], {"libero_goal": "libero_goal_swap"}),
        (["libero_10_no_noops/1.0.0", "b"], ["libero_10"], [], {"libero_10": "libero_10_no_noops/1.0.0"}),
        (["libero_10_no_noops_1.0_lerobot", "b"], ["libero_10"], [], {"libero_10": "libero_10_no_noops_1.0_lerobot"}),
        (["aloha", "b"], ["aloha"], [], {"aloha": "aloha"}),
        (FOUR, ["libero_goal"], [FOUR[3]], {"libero_goal": FOUR[3]}),
        (["a", "l=1"], ["libero_goal", "aloha"], ["aloha=l=1", "libero_goal=a"], {"libero_goal": "a", "aloha": "l=1"}),
        (["a", "lr=1"], ["libero_goal"], ["lr=1"], {"libero_goal": "lr=1"}),
        (["aloha", "a"], ["libero_goal_swap", "aloha"], ["libero_goal_swap=a"], {"libero_goal": "a", "aloha": "aloha"}),
    ],
)  # fmt: skip
def test_each_suite_has_the_part_that_is_named_for_it_or_bears_its_name(names, suites, given, chosen):
    assert choose_parts(names, suites, given) == chosen


@pytest.mark.parametrize(
    ("names", "suites", "given", "message"),
    [
        (["a", "b"], ["libero_goal"], [], r"for libero_goal none of 'a', 'b'.* --statistics libero_goal=PART"),
        (["libero_goal", "libero_goal_no_noops"], ["libero_goal"], [], "'libero_goal' and 'libero_goal_no_noops' of"),
        (["libero_goal_mine", "b"], ["libero_goal"], [], "for libero_goal none"),
        (FOUR, ["libero_goal", "libero_10"], [FOUR[3]], f"libero_goal={FOUR[2]} libero_10={FOUR[3]}, or none"),
        (["a", "b"], ["libero_goal", "libero_10"], ["a"], r"--statistics libero_goal=PART libero_10=PART"),
        (FOUR, ["libero_gaol"], [], "suite='libero_gaol' is unknown; did you mean 'libero_goal'"),
        (FOUR, ["libero_goal"], ["libero_goal_noops"], "unknown; did you mean 'libero_goal_no_noops'"),
        (FOUR, ["libero_goal"], ["libero_goal=libero_goal"], "statistics='libero_goal' is unknown"),
        (FOUR, ["libero_goal"], [f"libero_10={FOUR[3]}"], r"suites that are played \(libero_goal\), got 'libero_10'"),
        (FOUR, ["libero_goal"], [FOUR[3], f"libero_goal={FOUR[2]}"], "expected one part for libero_goal"),
        ([""], ["libero_goal"], ["libero_goal=a"], "a policy with one set of statistics, got 'libero_goal=a'"),
        (["a"], ["libero_goal"], ["b"], "expected none of a policy with the one part 'a', got 'b'"),
    ],
)  # fmt: skip
def test_what_is_ambiguous_or_fits_no_part_is_refused_with_the_names(names, suites, given, message):
    with pytest.raises(ConfigurationError, match=message):
        choose_parts(names, suites, given)


def test_a_policy_of_one_suites_data_is_played_in_another_only_if_that_is_insisted_on():
    release = ["libero_spatial_no_noops"]
    assert choose_parts(release, ["libero_spatial", "libero_spatial_swap"]) == {}
    with pytest.raises(
        ConfigurationError, match=r"suites: expected libero_spatial, .* alone, got libero_goal"
    ):
        choose_parts(release, ["libero_spatial", "libero_goal"])
    assert choose_parts(release, ["libero_goal"], release) == {}
    assert choose_parts(["kitchen"], ["libero_goal"]) == choose_parts([""], ["libero_goal"]) == {}


def test_an_identity_names_the_part_that_is_played_in_a_suite_and_in_its_variants():
    policy = PolicyIdentity(weights="a")
    assert str(identity_in_suite(policy, {"libero_goal": "part"}, "libero_goal_swap")) == "a-part"
    assert identity_in_suite(policy, {}, "libero_goal") == policy


def request(suite: str, seed: int = 0, condition: str = "") -> Question:
    state = np.random.default_rng(seed).normal(size=8).astype(np.float32)
    return Question(PlannedEpisode(suite, 0, 0, condition), 0, Observation({}, state, "lift the cup"))


def test_a_batch_over_two_suites_is_answered_as_each_part_alone(checkpoint_of_two_suites: Path, two_suites):
    parts = choose_parts([part.name for part in two_suites.parts], ["libero_goal", "libero_object"])
    policy = CheckpointPolicy(checkpoint_of_two_suites, "cpu", parts)
    asked = [
        *(request("libero_goal", 0), request("libero_object", 0), request("libero_goal_swap", 1)),
        request("libero_object", 1, "vision_silenced"),
    ]
    together = policy.infer(asked)
    for suite in ("libero_goal", "libero_object"):
        alone = CheckpointPolicy(checkpoint_of_two_suites, "cpu", {suite: parts[suite]})
        own = [
            (chunk, each)
            for chunk, each in zip(together, asked, strict=True)
            if each.episode.suite.startswith(suite)
        ]
        np.testing.assert_array_equal([chunk for chunk, _ in own], alone.infer([each for _, each in own]))
        expected = load_policy(checkpoint_of_two_suites, statistics=parts[suite]).infer(own[0][1].observation)
        np.testing.assert_allclose(own[0][0], expected, atol=1e-6)
    arm = slice(0, 6)  # without the gripper, which has no range
    assert np.abs(together[0][:, arm]).max() < 0.1 < np.abs(together[1][:, arm]).max()


def test_the_command_refuses_what_is_ambiguous_in_one_message(
    checkpoint_of_two_suites: Path, tmp_path, capsys
):
    command = [
        "evaluate",
        "--checkpoint",
        str(checkpoint_of_two_suites),
        "--output",
        str(tmp_path / "results"),
    ]
    for options, message in (
        (["--suites", "libero_goal", "libero_10"], "got for libero_10 none of"),
        (["--suites", "libero_goal", "libero_object", "--statistics", "libero_object"], "expected SUITE=PART"),
        (["--suites", "libero_goal", "--statistics", "libero_spatial"], "is unknown; did you mean"),
        (["--suites", "libero_goal", "--statistics", "libero_object=libero_object"], "expected suites that are played"),
        (["--suites", "libero_gaol"], "suite='libero_gaol' is unknown; did you mean 'libero_goal'"),
    ):  # fmt: skip
        with pytest.raises(SystemExit, match="2"):
            main([*command, *options])
        assert message in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "results").exists()


@pytest.mark.slow
@pytest.mark.simulator
def test_a_suite_in_one_command_with_another_is_evaluated_as_alone(
    checkpoint_of_two_suites: Path, two_suites, tmp_path
):
    names = [part.name for part in two_suites.parts]

    def play(name: str, *suites: str) -> dict[str, np.ndarray]:
        config = EvaluationConfig(
            suites=suites, tasks=(0,), trials=1, actions_per_inference=4, workers=1, videos=False
        )
        parts = choose_parts(names, suites, config.statistics)
        evaluate(checkpoint_source(checkpoint_of_two_suites, parts=parts), config, tmp_path / name)
        return {
            file.name: load_file(file)["actions"] for file in (tmp_path / name / "trajectories").iterdir()
        }

    together = play("together", "libero_object", "libero_goal")
    ((file, alone),) = play("goal", "libero_goal").items()
    np.testing.assert_array_equal(together[file], alone)
    found = {name: read_results(tmp_path / name / "results.jsonl") for name in ("together", "goal")}
    assert len(join_results(list(found.values()))) == 2
    parts = {result.suite: result.policy.part for result in found["together"]}
    assert parts == {"libero_object": "libero_object", "libero_goal": "libero_goal_no_noops"}
