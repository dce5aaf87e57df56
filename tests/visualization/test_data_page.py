"""The page about a data set says what `inspection` found, and needs no other file."""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from focusvla.data.episodes import Episode
from focusvla.data.inspection.data_set import Inspection, inspect_source
from focusvla.data.inspection.lag import LagFinding
from focusvla.data.inspection.problems import Problem, find_problems
from focusvla.data.memory import MemorySource
from focusvla.errors import StorageError
from focusvla.presets import fitted, preset
from focusvla.visualization.data_page import write_data_page
from focusvla.visualization.episode_strips import choose_strip, strip_pictures
from focusvla.visualization.model_view import ModelView, find_view_problems, view_data
from html_page import Page

SECTIONS = ["problems", "overview", "pictures", "numbers", "episodes"]


@pytest.fixture
def source(arm_source) -> MemorySource:
    """Three random episodes under LIBERO's conventions, of which the second has only 3 steps and a black camera."""
    drawn = arm_source((9, 3, 8))
    episodes, images = [], []
    for index in range(3):
        episode = drawn.episode(index)
        action = episode.action.copy()
        action[:, 6] = np.sign(action[:, 6])
        text = "lift the <b>cup</b>" if index else "push & pull"
        episodes.append(Episode(index, episode.state, action, text))
        frames = {name: np.stack(list(drawn.frames(index, name))) for name in ("image", "image2")}
        images.append(frames | {"image2": frames["image2"] * np.uint8(index != 1)})
    return MemorySource(drawn.spec, episodes, images)


@pytest.fixture
def save_page(source, tmp_path) -> Callable[..., Page]:
    """Write the page of `source` as `inspect` does, with other values if they are given."""

    def save(**changes) -> Page:
        inspection = changes.pop("inspection", inspect_source(source, chunk_length=4))
        view = changes.pop("view", view_data(source, fitted(preset("tiny"), source.spec), episodes=[0, 2]))
        values = {
            "title": "Data set <my data>",
            "inspection": inspection,
            "view": view,
            "problems": [*find_problems(inspection), *find_view_problems(view)],
        }
        return Page(write_data_page(tmp_path / "out" / "page.html", **values | changes))

    return save


def test_the_page_has_every_section_and_closes_what_it_opens(save_page):
    page = save_page()
    assert [attributes["id"] for attributes in page.all("section")] == SECTIONS
    assert page.open == []
    assert {link["href"] for link in page.all("a")} >= {f"#{section}" for section in SECTIONS}


def test_the_page_needs_no_network_and_no_script(save_page):
    page = save_page()
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "poster", "data"):
            assert (attributes.get(name) or "#").startswith(("data:", "#")), (tag, name)
    assert not re.search(r"https?:|url\(|@import", page.source)
    assert page.all("script") == []


def test_problems_come_first_each_with_what_to_do(save_page):
    text = save_page().text("problems")
    assert "Warning: camera image2: 15 % of the pictures in episodes 0, 1, 2 are black" in text
    assert "Warning: 1 of 3 episodes are shorter than a chunk of 4 steps: 1. Remove them if they were" in text


def test_the_headline_says_how_bad_it_is(save_page):
    note, error = Problem("note", "odd", "Look."), Problem("error", "no statistics", "Compute them.")
    assert save_page(problems=[]).text("problems") == "No problems found"
    assert save_page(problems=[note]).text("problems") == "One problem Note: odd. Look."
    assert save_page(problems=[note, note]).text("problems").startswith("2 problems")
    assert save_page(problems=[error, note]).text("problems").startswith("This data set cannot be trained on")


def test_the_overview_counts_and_tells_the_conventions_in_words(save_page):
    text = save_page().text("overview")
    assert "3 episodes, 20 steps, 0.0 minutes." in text
    assert "cameras image (32 x 32), image2 (32 x 32)" in text
    assert "gripper -1 opens, +1 closes" in text
    assert "lift the <b>cup</b> 2 push & pull 1" in text


def test_a_moment_is_shown_recorded_in_training_and_in_evaluation_for_each_camera(save_page):
    page = save_page()
    shown = [image["alt"] for image in page.all("img")]
    # Two moments of two cameras; a frozen encoder of the `tiny` preset trains on one varied copy.
    assert shown == ["recorded, 32 x 32", "training", "evaluation", "training, varied"] * 4
    assert all(image["src"].startswith("data:image/jpeg;base64,") for image in page.all("img"))
    text = page.text("pictures")
    assert text.startswith("What a model sees Training and evaluation show the model the same pictures.")
    assert "Mean absolute difference 0.00 of 255 (should be 0), of normalized states at most 0." in text
    assert "episode 2, step 3" in text


def test_a_difference_between_training_and_evaluation_is_marked_at_its_camera(save_page, source):
    view = view_data(source, fitted(preset("tiny"), source.spec), episodes=[0])
    (moment,) = view.moments
    differing = replace(moment, cameras=(replace(moment.cameras[0], difference=3.0), moment.cameras[1]))
    page = save_page(view=replace(view, moments=(differing,)))
    assert "show the model different pictures. Mean absolute difference 1.50 of 255" in page.text("pictures")
    marked = [figure.get("class") for figure in page.all("figure") if figure.get("class")]
    assert marked == ["is-different"] * 2 + ["is-same"] * 2


def test_where_there_are_no_pictures_a_sentence_says_why(save_page, source):
    absent = ModelView(preset("tiny"), absent="The pictures cannot be read: see the problems.")
    page = save_page(view=absent)
    assert page.all("img") == []
    assert "The pictures cannot be read: see the problems." in page.text("pictures")


def test_each_dimension_has_a_row_with_its_numbers_and_its_distribution(save_page, source):
    page = save_page()
    assert len([svg for svg in page.all("svg") if svg["class"] == "histogram"]) == 8 + 7
    gripper = page.text("numbers").split("gripper")[-1]
    assert gripper.startswith(" -1 -1")
    assert gripper.endswith("passes as it is")


def test_values_outside_the_stored_range_are_marked(save_page, source):
    inspection: Inspection = inspect_source(source, chunk_length=4)
    first = replace(inspection.state[0], stored_range=(5.0, 6.0), outside_share=1.0)
    page = save_page(inspection=replace(inspection, state=(first, *inspection.state[1:])))
    assert "5, 6 100.0 %" in page.text("numbers")
    assert page.source.count('<td class="is-off">') == 1


def test_a_data_set_without_statistics_says_so_in_each_row(save_page, source):
    inspection = inspect_source(source, chunk_length=4)
    bare = tuple(replace(each, stored_range=None, outside_share=None) for each in inspection.state)
    page = save_page(inspection=replace(inspection, state=bare))
    assert page.text("numbers").count("no statistics") == 8


def test_episodes_are_told_by_length_and_jump(save_page, source):
    inspection = inspect_source(source, chunk_length=4)
    text = save_page(inspection=inspection).text("episodes")
    assert "shortest 3 steps, episode 1 median 8 steps longest 9 steps, episode 0 too short 1 with" in text
    assert f"jumps {inspection.num_jumps} step(s) of the state" in text


def test_moments_are_shown_beside_their_numbers_with_every_camera(save_page, source):
    strip = choose_strip(source, 0)
    page = save_page(strips=[(strip, strip_pictures(source, strip))])
    assert page.open == []
    text = page.text("episodes")
    assert "Pictures beside numbers" in text
    assert "push & pull episode 0, 9 steps" in text
    assert re.search(r"step 0\s*, 0\.00 s: first x -?\d", text)
    assert "gripper is told to close" in text
    shown = [image for image in page.all("img") if " at step " in image["alt"]]
    assert [image["alt"] for image in shown[:2]] == ["image at step 0", "image2 at step 0"]
    assert len(shown) == 2 * len(strip.moments)


def test_switches_and_lags_are_told(save_page, source):
    lag = LagFinding("image", 2, correlation=0.6, correlation_at_zero=0.1, episodes=3)
    inspection = replace(inspect_source(source, chunk_length=4), lags=(lag,))
    text = save_page(inspection=inspection).text("episodes")
    assert "image pictures show a motion 2 step(s) after the states, correlation 0.60 over 3 episodes" in text
    assert (
        "switch gripper: the sign decides, so that the robot switches at 0; 0.0 % of the values lie on it"
        in text
    )


def test_the_title_and_the_instructions_are_escaped(save_page):
    page = save_page()
    assert "Data set &lt;my data&gt;" in page.source
    assert "lift the &lt;b&gt;cup&lt;/b&gt;" in page.source


def test_nothing_half_written_lies_beside_the_page_and_a_folder_is_refused(save_page, tmp_path, source):
    save_page()
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["page.html"]
    with pytest.raises(StorageError, match=r"expected a file, got a folder\. Choose .*page\.html"):
        write_data_page(
            tmp_path,
            title="",
            inspection=inspect_source(source, chunk_length=4),
            view=ModelView(preset("tiny"), absent="None."),
            problems=[],
        )
