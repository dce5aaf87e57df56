"""A study is a folder of pictures, maps and numbers, of one policy or of several over the same frames."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save, save_file

from focusvla.data.memory import random_source
from focusvla.data.normalization import Quantiles
from focusvla.data.video import decode_video
from focusvla.errors import ConfigurationError, DataError, StorageError
from focusvla.presets import with_policy_head
from focusvla.suites.libero import libero_spec
from focusvla.visualization.attention_maps import capture_focus, look_into
from focusvla.visualization.focus_drawing import draw_layers
from focusvla.visualization.focus_frames import (
    Frame,
    frame_of_images,
    frames_of_data,
    frames_of_results,
    frames_of_simulation,
)
from focusvla.visualization.focus_study import study_focus
from focusvla_client import Camera, SpecMismatchError


@pytest.fixture
def cascaded(make_policy, experiment):
    return make_policy(experiment)


@pytest.fixture
def mixed(make_policy, experiment):
    return make_policy(
        with_policy_head(experiment, attention="mixed", gate="scalar", values="vlm", num_kept_patches=32)
    )


@pytest.fixture
def frames(observation):
    """Two episodes of three and two frames, the object on the upper half of the first camera."""
    regions = {camera: np.zeros((3, 32, 32), bool) for camera in observation.images}
    regions["image"][0, :16] = True
    moments = [("one", 0), ("one", 8), ("one", 16), ("two", 0), ("two", 8)]
    return [Frame(name, step, observation, libero_spec(32), regions) for name, step in moments]


def test_several_policies_look_at_the_same_frames_and_stand_side_by_side(cascaded, mixed, frames, tmp_path):
    output = tmp_path / "focus"
    done = []
    tables = study_focus(
        {"cascaded": cascaded, "mixed": mixed}, frames, output, about={"why": "test"}, on_episode=done.append
    )
    assert done == ["one", "two"]
    assert (output / "focus.md").read_text() == tables + "\n"
    assert "5 frame(s) of 2 episode(s)" in tables
    assert "| chance: share of the pixels | 25.0 (25.0 to 25.0) | 0.0 (0.0 to 0.0) |" in tables
    for row in ("| cascaded, layer 1 |", "| mixed, all layers |", "| mixed minus cascaded, all layers |"):
        assert row in tables
    vision = tables.partition("**Vision attention: entropy")[2].splitlines()
    difference = next(row for row in vision if " minus " in row)
    assert difference.endswith("| - |")  # gates of two kinds are not compared
    softmax = tables.partition("softmax")[2].partition("**Vision")[0]
    assert "mixed, layer 2" in softmax
    assert "cascaded, layer 2" not in softmax
    numbers = json.loads((output / "focus.json").read_text())
    assert numbers["why"] == "test"
    assert [(frame["episode"], frame["step"]) for frame in numbers["frames"]][2:4] == [
        ("one", 16),
        ("two", 0),
    ]
    of_frame = numbers["frames"][0]["policies"]["mixed"]
    assert sum(of_frame["weight_shares"][0]) == pytest.approx(1, abs=1e-4)
    assert numbers["summary"]["mixed"]["kept_patches"][-1]["mean"] == 32
    assert numbers["summary"]["cascaded"]["kept_patches"][-1]["mean"] == 9
    expected = look_into(cascaded, frames[0].observation)
    assert numbers["frames"][0]["policies"]["cascaded"]["contributions"][1] == pytest.approx(
        expected.contributions[1].tolist(), abs=1e-4
    )
    saved = load_file(output / "cascaded" / "one.safetensors")
    np.testing.assert_allclose(saved["attention"][2], expected.maps.weights.mean(axis=2), atol=1e-3)
    assert saved["kept"].shape == (3, 2, 2, 32)


def test_in_each_suite_a_policy_looks_as_the_robot_that_is_played_there(cascaded, frames, tmp_path):
    narrow = Quantiles(q01=(-0.01,) * 8, q99=(0.02,) * 8)
    other = cascaded.with_statistics(dataclasses.replace(cascaded.statistics, state=narrow))
    seen = [
        dataclasses.replace(frame, suite="libero_goal") if frame.episode == "two" else frame
        for frame in frames
    ]
    in_suites = {"libero_goal": {"policy": other}}
    study_focus(
        {"policy": cascaded}, seen, tmp_path / "focus", about={}, in_suites=in_suites, with_pictures=False
    )
    shown = json.loads((tmp_path / "focus" / "focus.json").read_text())["frames"]
    expected = [look_into(policy, frames[0].observation).contributions[1] for policy in (cascaded, other)]
    assert abs(expected[0] - expected[1]).max() > 1e-3
    for frame, contributions in ((shown[0], expected[0]), (shown[3], expected[1])):
        found = frame["policies"]["policy"]["contributions"][1]
        assert found == pytest.approx(contributions.tolist(), abs=1e-4)


def test_pictures_are_drawn_at_the_first_middle_and_last_frame_and_a_video_along_the_episode(
    cascaded, frames, tmp_path
):
    study_focus({"policy": cascaded}, frames, tmp_path / "focus", about={})
    folder = tmp_path / "focus" / "policy"
    names = {path.name for path in folder.iterdir()}
    assert {f"one-step-{step:04d}-{kind}.png" for step in (0, 8, 16) for kind in ("layers", "heads")} < names
    with Image.open(folder / "one-step-0000-layers.png") as picture:
        drawn = np.asarray(picture)
    assert drawn.shape == (
        14 + 4 * 130,
        3 * 130,
        3,
    )  # two cameras' attention and kept patches; picture and two layers
    np.testing.assert_array_equal(
        drawn, draw_layers(frames[0], capture_focus(cascaded, frames[0].observation))
    )
    height, width = 14 + 2 * 194, 3 * 194
    shown = list(decode_video(folder / "one.mp4", Camera("focus", height, width), 2.5, 0.0, 3))
    assert len(shown) == 3  # at 20 control steps a second and one look in 8


def test_every_policy_must_share_the_conventions_of_what_it_looks_at(
    cascaded, make_policy, experiment, frames, tmp_path
):
    flipped = make_policy(experiment)
    flipped.spec = dataclasses.replace(flipped.spec, image_orientation="upright")
    with pytest.raises(SpecMismatchError, match=r"policy 'flipped' and what .* image_orientation"):
        study_focus({"cascaded": cascaded, "flipped": flipped}, frames, tmp_path / "focus", about={})
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_where_a_policy_cannot_be_looked_into(
    cascaded, make_policy, blind_experiment, frames, tmp_path
):
    policies = {"seeing": cascaded, "blind": make_policy(blind_experiment)}
    with pytest.raises(ConfigurationError, match=r"got vision\.encoder='none'"):
        study_focus(policies, frames, tmp_path / "focus", about={})
    unfit = [
        dataclasses.replace(frames[0], observation=dataclasses.replace(frames[0].observation, images={}))
    ]
    with pytest.raises(ConfigurationError, match=r"expected camera 'image'"):
        study_focus({"seeing": cascaded}, unfit, tmp_path / "focus", about={})
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "focus").mkdir()
    with pytest.raises(StorageError, match="expected a folder that does not exist yet"):
        study_focus({"seeing": cascaded}, frames, tmp_path / "focus", about={})


def test_frames_of_a_data_set_are_every_nth_or_the_one_that_is_asked_for():
    source = random_source(libero_spec(32), (9, 20))
    frames = list(frames_of_data(source, 1, None, every=8))
    assert [(frame.episode, frame.step) for frame in frames] == [("episode-000001", s) for s in (0, 8, 16)]
    (alone,) = frames_of_data(source, 1, 16, every=8)
    assert [frame.step for frame in frames_of_data(source, 1, 0, every=8)] == [0]
    recorded = list(source.frames(1, "image2"))
    for frame in (frames[2], alone):
        np.testing.assert_array_equal(frame.observation.images["image2"], recorded[16])
        np.testing.assert_array_equal(frame.observation.state, source.episode(1).state[16])
        assert frame.observation.instruction == "push the bowl"
        assert frame.regions is None
        assert frame.spec == source.spec


@pytest.mark.parametrize(
    ("episode", "step", "message"),
    [
        (2, None, r"episode 2: expected 0\.\.1"),
        (-1, None, "episode -1"),
        (1, 20, r"step=20: expected 0\.\.19"),
    ],
)
def test_an_unknown_episode_or_step_is_named(episode, step, message):
    source = random_source(libero_spec(32), (9, 20))
    with pytest.raises(DataError, match=message):
        list(frames_of_data(source, episode, step, every=8))


def test_frames_of_an_evaluation_are_what_its_policy_saw(save_evaluation, save_observations):
    evaluation = save_evaluation("wide", "libero_wide", [True, False])
    with pytest.raises(DataError, match="expected observations that its policy saw, got none"):
        list(frames_of_results(evaluation.results, with_regions=False))
    saved = load_file(save_observations(evaluation))
    frames = list(frames_of_results(evaluation.results, with_regions=False))
    assert [frame.step for frame in frames] == [0, 8, 16, 24, 32]
    assert {frame.episode for frame in frames} == {"libero_object-task-003-trial-000"}
    assert {frame.spec for frame in frames} == {libero_spec(32)}
    np.testing.assert_array_equal(frames[3].observation.images["image2"], saved["image.image2"][3])
    with pytest.raises(DataError, match=r"trajectories/.*expected the trajectory.*Use --no-regions"):
        list(frames_of_results(evaluation.results, with_regions=True))
    del saved["image.image2"]
    save_file(saved, save_observations(evaluation))
    with pytest.raises(DataError, match=r"expected images of image, image2 and states, got 'image\.image2'"):
        list(frames_of_results(evaluation.results, with_regions=False))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"damaged", r"trajectories/.*trial-000\.safetensors: expected a trajectory, got"),
        (
            save({"snapshots": np.zeros((32, 2))}),
            r"expected more than 32 steps, as its observations have, got 32",
        ),
    ],
)
def test_a_trajectory_that_is_damaged_or_of_another_episode_is_named(
    content, message, save_evaluation, save_observations
):
    evaluation = save_evaluation("wide", "libero_wide", [True])
    saved = save_observations(evaluation)
    (evaluation.results / "trajectories").mkdir()
    (evaluation.results / "trajectories" / saved.name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        list(frames_of_results(evaluation.results, with_regions=True))


def test_pictures_from_files_are_brought_to_the_camera_s_size(tmp_path, cascaded):
    for name, size in (("large", (64, 64)), ("wide", (64, 48))):
        Image.new("RGB", size, (9, 8, 7)).save(tmp_path / f"{name}.png")
    spec, state = cascaded.spec, np.zeros(8, np.float32)
    images = {"image": tmp_path / "large.png"}
    frame = frame_of_images(images, "lift the cup", state, spec)
    assert frame.observation.images["image"].shape == (32, 32, 3)
    assert (frame.observation.images["image"] == (9, 8, 7)).all()
    assert frame.spec == spec
    with pytest.raises(ConfigurationError, match="expected camera 'image2', got image"):
        capture_focus(cascaded, frame.observation)
    for images, error, message in (
        ({"imgae": tmp_path / "large.png"}, ConfigurationError, "did you mean 'image'"),
        ({"image": tmp_path / "wide.png"}, ConfigurationError, "got 64x48 in .* Crop it"),
        ({"image": tmp_path / "absent.png"}, DataError, "expected a picture for camera 'image'"),
    ):
        with pytest.raises(error, match=message):
            frame_of_images(images, "", state, spec)


@pytest.mark.simulator
def test_regions_of_a_recorded_episode_are_those_of_the_live_one(cascaded, save_evaluation, tmp_path):
    from focusvla.evaluation.episodes import PlannedEpisode
    from focusvla.suites import protocol

    with pytest.raises(ConfigurationError, match="every=8: expected at most the policy's chunk of 4 steps"):
        next(
            frames_of_simulation(
                cascaded, [PlannedEpisode("libero_object", 3, 0)], protocol("libero_openvla"), 8
            )
        )
    live = frames_of_simulation(cascaded, [PlannedEpisode("libero_object", 3, 0)], protocol("libero_wide"), 4)
    frame = next(live)
    assert (frame.episode, frame.step) == ("libero_object-task-003-trial-000", 0)
    assert frame.regions is not None
    assert [mask.any() for mask in frame.regions["image"]] == [True, True, True]
    assert frame.spec == cascaded.spec
    assert next(live).step == 4
