"""What the report page does in Chromium, read from its pixels."""

import base64
import dataclasses
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from focusvla.data.inspection.data_set import inspect_source
from focusvla.presets import fitted, preset
from focusvla.visualization import focus_grids
from focusvla.visualization.data_page import write_data_page
from focusvla.visualization.model_view import view_data
from focusvla.visualization.report import write_report
from html_page import Page

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install 'focusvla[dev]'")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="needs a browser: apt-get install chromium chromium-driver"
    ),
]
GRAY_PER_FRAME = 20
"""Frame n of the drawn videos is that many times n bright."""
FLAGS = (
    *(
        "headless",
        "no-sandbox",
        "disable-gpu",
        "disable-quic",
        "no-first-run",
        "disable-background-networking",
    ),
    *("disable-component-update", "disable-sync", "force-device-scale-factor=1"),
)
PIXEL = "return Array.from(document.querySelector('canvas').getContext('2d').getImageData(...arguments, 1, 1).data)"


class Chromium:
    """A browser with one page open."""

    def __init__(self, folder: Path):
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in (*FLAGS, f"user-data-dir={folder}"):
            options.add_argument(f"--{flag}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))

    def open(self, page: Path, width: int = 1280) -> None:
        """Load `page` in a window `width` pixels wide and wait until its script has drawn."""
        self.driver.get("about:blank")
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)
        metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.get(page.as_uri())

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str, expected: Any) -> None:
        """Until `script` returns `expected`, which Chromium decides."""
        found = self.driver.execute_async_script(
            "const [code, expected, done] = arguments; const began = Date.now(); const read = new Function(code);"
            "const look = () => { const found = JSON.stringify(read());"
            "if (found === expected || Date.now() - began > 10000) done(found); else setTimeout(look, 20); }; look();",
            script,
            json.dumps(expected, separators=(",", ":")),
        )
        assert json.loads(found) == expected

    def settles(self, x: int, y: int, expected: Any, tolerance: float) -> None:
        """Wait until a pixel has this color, which may come after the step is named."""
        for _ in range(100):
            if self.pixel(x, y) == pytest.approx(expected, abs=tolerance):
                return
            time.sleep(0.1)
        assert self.pixel(x, y) == pytest.approx(expected, abs=tolerance)

    def steps(self, expected: list[int]) -> None:
        """Wait until the canvases show these steps."""
        self.wait(
            "return Array.from(document.querySelectorAll('canvas'), (c) => Number(c.dataset.step))", expected
        )

    def scrub(self, frame: int) -> None:
        self.run(
            "const range = document.querySelector('[name=frame]'); range.value = arguments[0];"
            "range.dispatchEvent(new Event('input'))",
            frame,
        )

    def click(self, name: str) -> None:
        self.run("document.querySelector(`[name=${arguments[0]}]`).click()", name)

    def choose(self, name: str, value: str) -> None:
        """The option of a menu."""
        self.run(
            "const select = document.querySelector(`[name=${arguments[0]}]`); select.value = arguments[1];"
            "select.dispatchEvent(new Event('change'))",
            name,
            value,
        )

    def press(self, key: str) -> None:
        """A key, to whatever has the focus."""
        self.driver.switch_to.active_element.send_keys(key)

    def pixel(self, x: int, y: int) -> np.ndarray:
        """RGB of the first canvas."""
        return np.array(self.run(PIXEL, x, y)[:3])

    def messages(self) -> list[dict[str, Any]]:
        """Of the console since the page was opened."""
        return self.driver.get_log("browser")

    def requests(self) -> set[str]:
        """Beginnings of all addresses asked for since the page was opened."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return {url.partition(":")[0] if not url.startswith("file:") else url for url in asked}


@pytest.fixture(scope="module")
def chromium(tmp_path_factory) -> Iterator[Chromium]:
    browser = Chromium(tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.driver.quit()


@pytest.fixture
def page(tmp_path, experiment, save_run, save_evaluation, save_drawing, save_observations) -> Path:
    """A policy that sees and one that does not, both drawn from start 0, where the latter failed."""
    run = save_run("mini", experiment)
    checkpoint = run.path / "checkpoints/step-00000020"
    seeing = save_evaluation("wide", "libero_wide", [True, False], checkpoint=checkpoint)
    blind = save_evaluation("blind", "libero_wide", [False, False], is_blind=True)
    save_drawing(seeing, 0, True)
    save_drawing(seeing, 1, False)
    save_drawing(blind, 0, False)
    save_observations(seeing, 0)
    save_observations(seeing, 1)
    return write_report(
        tmp_path / "report.html",
        title="In a browser",
        runs=[run],
        evaluations=[seeing, blind],
        checkpoint=run.path,
    )


@pytest.fixture
def opened(chromium: Chromium, page: Path) -> Chromium:
    """The page, at the seeing policy's failure from start 1."""
    chromium.open(page)
    chromium.run(
        "const select = document.querySelector('[name=episode]');"
        "select.selectedIndex = Array.from(select.options).findIndex((o) => o.text.includes('trial 1'));"
        "select.dispatchEvent(new Event('change'))"
    )
    chromium.steps([0])
    return chromium


@pytest.mark.parametrize("width", [1280, 360])
def test_the_page_loads_without_a_message_and_without_a_request_that_leaves_it(chromium, page, width):
    chromium.open(page, width)
    chromium.steps([0, 0])
    assert chromium.messages() == []
    requests = chromium.requests()
    assert {page.as_uri(), "blob"} <= requests <= {page.as_uri(), "blob", "data"}


def test_the_page_of_a_data_set_keeps_its_style_and_asks_for_nothing_either(chromium, arm_source, tmp_path):
    source = arm_source()
    inspection = inspect_source(source, chunk_length=4)
    view = view_data(source, fitted(preset("tiny"), source.spec), episodes=[0])
    page = write_data_page(
        tmp_path / "page.html", title="Data", inspection=inspection, view=view, problems=[]
    )
    chromium.open(page)
    assert chromium.run("return getComputedStyle(document.querySelector('main')).maxWidth") == "1080px"
    assert chromium.messages() == []
    assert chromium.requests() <= {page.as_uri(), "data"}


def test_pictures_are_there(chromium, page):
    chromium.open(page)
    chromium.run("document.querySelectorAll('img').forEach((image) => image.loading = 'eager')")
    chromium.wait("return Array.from(document.images).every((image) => image.naturalWidth === 256)", True)
    assert chromium.run("return document.images.length") > 0


def test_the_scrubber_moves_the_video_and_the_picture(opened):
    opened.click("attention")
    for frame in (5, 2, 10):
        opened.scrub(frame)
        opened.steps([4 * frame])
        seconds = opened.run("return document.querySelector('video').currentTime")
        assert int(seconds * 5) == frame  # 20 steps a second, 4 steps a frame
        opened.settles(100, 100, GRAY_PER_FRAME * frame, 4)


def test_the_picture_shows_what_was_kept_at_the_step_of_its_frame(opened, page):
    focus = next(e["focus"] for e in Page(page).json() if e["trial"] == 1)
    kept = np.frombuffer(base64.b64decode(focus["kept"]), np.uint8).reshape(focus["shape"])
    opened.click("attention")
    opened.click("kept")
    size = opened.run("const {width, height} = document.querySelector('canvas'); return [width, height]")
    side = size[1] // focus["rows"]
    changes = set()
    for frame, inference in ((10, 4), (3, 1), (4, 2)):
        opened.scrub(frame)
        opened.steps([4 * frame])
        for patch in (0, 5, 15, 16, 27):  # from 16 on they are the second camera's
            camera, place = divmod(patch, 16)
            x = camera * size[0] // 2 + (place % 4) * side + side // 2
            share = kept[inference, -1, 0, patch] / 255
            opacity = 0.8 * (1 - share)
            expected = (1 - opacity) * GRAY_PER_FRAME * frame + opacity * np.array([12, 14, 16])
            opened.settles(x, (place // 4) * side + side // 2, expected, 5)
            changes.add(round(share, 2))
    assert len(changes) > 3


def test_attention_is_shown_and_goes_and_so_does_a_camera_s(opened):
    opened.scrub(5)
    opened.steps([20])
    read = "const c = document.querySelector('canvas'); return c.toDataURL()"
    both = opened.run(read)
    opened.click("camera-image2")
    one = opened.run(read)
    opened.click("attention")
    plain = opened.run(read)
    assert len({both, one, plain}) == 3
    assert opened.run("return document.querySelector('.screens .note').textContent").startswith(
        "Step 20 of 40. Attention: image "
    )


def test_another_layer_and_another_head_look_elsewhere(opened):
    read = "return document.querySelector('canvas').toDataURL()"
    pictures = [opened.run(read)]
    opened.run("document.querySelector('.screens').focus()")
    for key in "lhh":
        opened.press(key)
        pictures.append(opened.run(read))
    assert len(set(pictures)) == 4
    chosen = opened.run(
        "return ['layer', 'head'].map((n) => document.querySelector(`[name=${n}]`).selectedIndex)"
    )
    assert chosen == [0, 2]


def test_a_layer_is_the_same_in_all_episodes_and_one_that_an_episode_left_out_is_not_drawn_over_it(
    chromium, tmp_path, monkeypatch, experiment, save_run, save_evaluation, save_drawing, save_observations
):
    checkpoint = save_run("mini", experiment).path / "checkpoints/step-00000020"
    monkeypatch.setattr(focus_grids, "MAX_BYTES", 3 * 192)  # 192 bytes an inference and layer
    evaluations = []
    for name, count in (("five", 5), ("one", 1)):  # inferences: room for the last of two layers, and for both
        evaluation = save_evaluation(name, "libero_wide", [False, False], checkpoint=checkpoint)
        save_drawing(evaluation, 0, False)
        save_observations(evaluation, 0, count)
        evaluations.append(dataclasses.replace(evaluation, policy=name))
    save_drawing(evaluations[0], 1, False)
    save_observations(evaluations[0], 1)
    chromium.open(write_report(tmp_path / "report.html", title="Layers", evaluations=evaluations))
    layer = "return document.querySelector('[name=layer]').selectedOptions[0].text"
    notes = "return Array.from(document.querySelectorAll('.screens .note'), (note) => note.textContent)"
    picture = "return Array.from(document.querySelectorAll('canvas'), (canvas) => canvas.toDataURL())"
    chromium.steps([0, 0])
    assert chromium.run(layer) == "2"
    chromium.choose("layer", "1")
    absent = "Step 0 of 40. The page has no layer 1 of this episode."
    left_out, drawn = chromium.run(notes)
    assert left_out == absent
    assert drawn.startswith("Step 0 of 40. Attention: image ")
    shown = chromium.run(picture)
    chromium.click("attention")
    plain = chromium.run(picture)
    assert [one == other for one, other in zip(shown, plain, strict=True)] == [True, False]
    chromium.choose("episode", "2")
    chromium.steps([0])
    assert chromium.run(layer) == "1"
    assert chromium.run(notes) == [absent]


def test_keys_step_play_and_change_the_episode(opened):
    opened.run("document.querySelector('.screens').focus()")
    right, left, home, end = "\ue014", "\ue012", "\ue011", "\ue010"
    for key, step in ((right, 4), (right, 8), (left, 4), (end, 40), (home, 0)):
        opened.press(key)
        opened.steps([step])
    opened.choose("speed", "0.5")
    opened.run(
        "const button = document.querySelector('[name=play]'); window.texts = [];"
        "new MutationObserver(() => texts.push(button.textContent)).observe(button, {childList: true})"
    )
    opened.press(" ")
    opened.steps([40])
    opened.wait("return texts", ["Pause", "Play"])
    opened.press("p")
    opened.steps([0, 0])
    opened.press("n")
    opened.steps([0])


def test_keys_of_a_menu_that_is_off_leave_the_next_episode_as_it_was(opened):
    look = (
        "return [document.querySelector('canvas').toDataURL(),"
        "...['layer', 'head'].map((name) => document.querySelector(`[name=${name}]`).value)]"
    )
    before = opened.run(look)
    opened.choose("episode", "0")
    opened.choose("beside", "")  # the policy that sees nothing
    opened.steps([0])
    assert opened.run("return document.querySelector('[name=layer]').matches(':disabled')")
    opened.run("document.querySelector('.screens').focus()")
    for key in "lh":
        opened.press(key)
    opened.choose("episode", "1")
    opened.steps([0])
    assert opened.run(look) == before


def test_every_control_can_be_reached_and_shows_its_focus(opened):
    tab = "\ue004"
    opened.run("document.querySelector('[name=episode]').focus()")
    reached = set()
    for _ in range(12):
        opened.press(tab)
        name, outline = opened.run(
            "const {name, className} = document.activeElement;"
            "return [name || className, getComputedStyle(document.activeElement).outlineStyle]"
        )
        reached.add(name)
        assert outline == "solid", name
    assert reached >= {
        "screens",
        "play",
        "frame",
        "speed",
        "attention",
        "kept",
        "layer",
        "head",
        "camera-image",
    }


def test_two_policies_from_one_start_play_side_by_side_on_one_time(chromium, page):
    chromium.open(page)
    chromium.steps([0, 0])
    captions = "return Array.from(document.querySelectorAll('.screens figcaption'), (c) => c.innerText)"
    first, second = chromium.run(captions)
    assert first.startswith("Failure vision-blind baseline")
    assert "This policy sees nothing." in first
    assert second.startswith("Success FocusVLA")
    chromium.scrub(7)
    chromium.steps([28, 28])
    values = chromium.run(
        "const shown = document.querySelectorAll('[data-curves=actions] li:first-child span');"
        "return Array.from(shown, (value) => value.textContent)"
    )
    assert values == ["28.000", "28.000"]


def test_a_chart_is_clicked_to_go_there(opened):
    chart = opened.driver.find_element("css selector", "[data-curves=states] svg")
    opened.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", chart)
    webdriver.ActionChains(opened.driver).move_to_element(chart).click().perform()
    opened.steps([20])


def test_nothing_is_wider_than_a_phone(chromium, page):
    chromium.open(page, width=360)
    chromium.steps([0, 0])
    chromium.run("document.querySelectorAll('details').forEach((each) => each.open = true)")
    assert chromium.run("return document.documentElement.scrollWidth") == 360
    assert chromium.run("return document.querySelector('canvas').getBoundingClientRect().width") == 320
    captions = (
        "return [...document.querySelectorAll('caption')].map((each) => each.getBoundingClientRect().right)"
    )
    assert max(chromium.run(captions)) <= 340


@pytest.mark.parametrize(
    ("scheme", "page_color"), [("light", "rgb(251, 251, 249)"), ("dark", "rgb(20, 23, 26)")]
)
def test_the_colors_are_those_that_the_reader_prefers(chromium, page, scheme, page_color):
    preferred = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    chromium.open(page)
    chromium.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", preferred)
    assert chromium.run("return getComputedStyle(document.body).backgroundColor") == page_color
    button = "return getComputedStyle(document.querySelector('[name=play]')).color"
    assert chromium.run(button) == chromium.run("return getComputedStyle(document.body).color")


def test_a_video_that_cannot_be_played_is_said_and_the_curves_still_move(
    chromium, tmp_path, save_evaluation, save_drawing
):
    evaluation = save_evaluation("wide", "libero_wide", [True])
    save_drawing(evaluation, 0, True).write_bytes(b"no video")
    chromium.open(write_report(tmp_path / "report.html", title="Damaged", evaluations=[evaluation]))
    chromium.wait(
        "return document.querySelector('.screens .note').textContent",
        "This browser cannot play the video, which is H.264 in MP4.",
    )
    chromium.scrub(2)
    chromium.wait("return document.querySelector('[data-curves=actions] span').textContent", "8.000")
