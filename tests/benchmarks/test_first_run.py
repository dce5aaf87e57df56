"""The script for a first run on a GPU loses to a stop only what follows, and says what it left out."""

import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def first_run(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER / "gpu")
    return importlib.import_module("first_run")


def part(first_run: ModuleType, code: str, **others: object) -> object:
    return first_run.Part("some part", [sys.executable, "-c", code], 30, **others)


def test_a_part_that_is_stopped_keeps_what_it_had_found(first_run, tmp_path):
    code = """import subprocess, sys, time
print('no figures')
print('{"median_ms": 5.0}', flush=True)
subprocess.run([sys.executable, "-c", "import time; time.sleep(60)"])"""
    found = first_run.run(part(first_run, code), 1.5, dict(os.environ), tmp_path)
    assert found["figures"] == [{"median_ms": 5.0}]
    assert found["ended"] == "stopped at its limit of 2 s"
    assert found["last_lines"] == ["no figures", '{"median_ms": 5.0}']
    assert found["seconds"] < 20


def test_a_part_that_is_stopped_from_outside_keeps_what_it_had_found(first_run, tmp_path):
    code = """import os, signal, time
print('{"median_ms": 5.0}', flush=True)
os.kill(os.getppid(), signal.SIGTERM)
time.sleep(60)"""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        found = first_run.run(part(first_run, code), 30, dict(os.environ), tmp_path)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (found["ended"], found["figures"]) == (first_run.INTERRUPTED, [{"median_ms": 5.0}])


def test_of_a_part_that_failed_the_reason_is_shown_with_its_figures(first_run, tmp_path):
    code = """print('{"preset": "tiny", "precision": "float32", "floor_ms": 2, "modes": {}, "failed": {"graph": "no"}}')
raise RuntimeError("too large")"""
    found = first_run.run(part(first_run, code), 20.0, dict(os.environ), tmp_path)
    told = first_run.shown(found)
    assert told[:2] == ["- failed: graph: no", "- floor 2 ms (tiny, float32)"]
    assert told[-1] == "    RuntimeError: too large"


def test_a_part_says_how_it_ended_or_why_it_was_left_out(first_run, tmp_path):
    def ended(code: str, seconds: float = 20.0, **others: object) -> str:
        return first_run.run(part(first_run, code, **others), seconds, dict(os.environ), tmp_path)["ended"]

    assert ended("print('{}')") == "done"
    assert ended("raise SystemExit(3)") == "failed with code 3"
    assert ended("", lacks=("tyro", "rich")) == "left out, tyro and rich missing"
    assert ended("", seconds=0.5) == "left out, no time was left"


def test_parts_come_in_the_order_of_what_is_to_be_known_first(first_run):
    found = first_run.parts("cuda", quick=False)
    assert [each.name for each in found] == [
        *("tests", "latency", "training", "latency, compiled", "training, compiled"),
        *("small training", "loading", "tests, compiled", "server"),
    ]
    commands = [" ".join(each.command) for each in found]
    assert "-m gpu -k not compiled" in commands[0]
    assert "-m gpu -k compiled" in commands[-2]
    assert "tests/gpu/test_on_cuda.py" in commands[0]
    assert "--presets paper --device cuda --precisions bfloat16" in commands[1]
    assert commands[1].endswith("--modes plain eager graph reference")
    scripts = [each for each in first_run.parts("cpu", quick=True) if "pytest" not in each.command]
    assert all("--quick" in each.command for each in scripts)


def test_aims_are_met_missed_or_open(first_run):
    timed = {
        "preset": "paper",
        "modes": {"graph": {"median_ms": 4.0}, "reference": {"median_ms": 40.0}},
        "median_ms": 4.0,
        "times_floor": 5.0,
    }
    assert first_run.aims({"latency": {"figures": [timed]}}) == [
        "- latency_ms: 4, at most 5: met",
        "- times_floor: 5, at most 4: missed",
        "- speedup_over_reference_path: 10, at least 7: met",
        "- share_of_matrix_peak: open",
    ]


def test_what_answers_otherwise_meets_no_aim(first_run):
    slow = {"preset": "paper", "modes": {"reference": {"median_ms": 40.0}}, "failed": {"reference": "far"}}
    right = {"preset": "paper", "modes": {}, "median_ms": 4.0, "times_floor": 5.0}
    found = first_run.aims({"latency": {"figures": [slow]}, "latency, compiled": {"figures": [right]}})
    assert found[0] == "- latency_ms: 4, at most 5: met"
    assert found[2] == "- speedup_over_reference_path: open"


def put_stand_ins(first_run: ModuleType, folder: Path) -> None:
    for package, files in first_run.STAND_INS.items():
        for file, text in files.items():
            path = folder / package / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")


@pytest.mark.slow
def test_the_parts_need_no_package_that_may_be_missing(first_run, tmp_path):
    put_stand_ins(first_run, tmp_path)
    absent = [
        *first_run.SERVER_NEEDS,
        first_run.MINI_NEEDS,
        "mujoco",
        "libero",
        "h5py",
        "matplotlib",
        "pyarrow",
    ]
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({absent}))\n"
        "import contenders, latency, training, loading, focusvla.training.trainer\n"
    )
    paths = [str(tmp_path), str(FOLDER), *sys.path]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.parametrize("package", ["jaxtyping", "av"])
def test_a_stand_in_serves_whoever_names_shapes_or_imports_the_reader_of_videos(package, first_run, tmp_path):
    put_stand_ins(first_run, tmp_path)
    code = {
        "jaxtyping": "from jaxtyping import Float; import jaxtyping\n"
        "def scaled(x: Float[int, 'batch width'] | None): return x\n"
        "jaxtyping.config.update('jaxtyping_disable', True); assert scaled(3) == 3",
        "av": "import av, av.error\nfrom av.video.reformatter import VideoReformatter\n"
        "try: raise ValueError\nexcept (av.error.FFmpegError, ValueError): pass\n"
        "av.logging.set_level(av.logging.ERROR)",  # as torchvision does
    }[package]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.slow
def test_it_runs_on_a_cpu(tmp_path):
    command = [
        sys.executable,
        str(FOLDER / "gpu" / "first_run.py"),
        "--device",
        "cpu",
        "--quick",
        "--output",
        str(tmp_path),
    ]
    subprocess.run([*command, "--only", "small training"], check=True, cwd=FOLDER.parent)
    (file,) = tmp_path.glob("first_run_cpu_*.json")
    found = json.loads(file.read_text())
    assert found["machine"]["device"] == "cpu"
    (figures,) = found["parts"]["small training"]["figures"]
    assert figures["samples_per_second"] > 0
    assert "- share_of_matrix_peak: open" in file.with_suffix(".md").read_text()
