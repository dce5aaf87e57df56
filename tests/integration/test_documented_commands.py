"""Every command that the site shows is typed, and does its work.

Blocks titled "runs in CI" run as they stand. The others stand for hours of work: each is made small, and where it
plays in LIBERO it plays in the small world of `tests/reach` instead. The quickstart runs first; a copy of what it leaves
is all that each other page needs, which runs from its top to its end.
Scripts in benchmarks/ and integrations/ have tests of their own.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from focusvla.data.memory import random_source
from focusvla.suites.libero import libero_spec
from focusvla_client.bimanual import robotwin_spec
from written_datasets import gray_memory, write_lerobot, write_pushed_demonstrations, write_robotwin

pytest.importorskip("h5py", reason="needs the extra `hdf5`")

ROOT = Path(__file__).parents[2]
# A port of its own for each process of a test run.
PORT = 8139 + int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
QUICKSTART = ROOT / "docs/quickstart.md"
SHOWN = re.compile(
    r'^```bash title="runs in CI"\n(?P<block>(?:.*\n)*?)```$'
    r"|^    (?P<command>(?:torchrun (?:[^\n\\]|\\\n)*-m )?focusvla(?:[^\n\\]|\\\n)*)$",
    re.MULTILINE,
)
# What follows the command; of a flag given twice the last counts.
SMALLER = {
    "compare": "--steps 2 --checkpoint-every 2 --evaluate-every 2 --evaluation.tasks 2 --evaluation.trials 1 "
    "--evaluation.workers 1",
    "correct": "--tasks 2 3 --attempts-per-task 2 --policy-steps 1 8 --image-size 64 --steps-per-picture 4 --workers 1",
    "demonstrate": "--tasks 2 3 --episodes-per-task 2 --image-size 64 --steps-per-picture 4 --workers 1",
    "diagnose": "--tasks 2 --trials 2 --workers 1",
    "evaluate": "--tasks 2 --trials 1 --workers 1",
    "merge": "--output results/merged",
    "quickstart": "--tasks 2 --episodes-per-task 2 --steps 4 --trials 1",
    "regenerate": "--output data/regenerated --image-size 64 --mesh-cell-meters 0.008",
    "serve": f"--port {PORT}",
    "train": "--steps 2",
}
# Flags without which a command means LIBERO-Object, and what stands for LIBERO's suites and protocols.
OTHERWISE_LIBERO = {
    "correct": "--suite",
    "demonstrate": "--suite",
    "diagnose": "--suites",
    "evaluate": "--suites",
}
IN_SMALL_WORLD = {
    r"libero_(openvla|object)\b": "reach",
    r"libero_(goal|spatial|10|wide|disturbed)\b": r"reach_\1",
    r"libero_(openpi|lerobot|vla_eval)\b": "reach_resized",
    r"metaworld_easy\b": "reach",
}
BOTH_HOSTS = r"for host in 1 2; do \1 --nproc-per-node 1\2 localhost:29517\3 & done; wait -n; wait -n"
ALL_SHARDS = r"for part in {0..3}; do \g<1>$part --shard $part \2 --tasks {0..3}\3; done"
IS_SERVED = f"until curl --silent --fail localhost:{PORT}/healthz; do kill -0 $!; sleep 1; done"
BESIDE_ITS_SERVER = rf"focusvla serve runs/mini --port {PORT} & {IS_SERVED}; \g<1>{PORT}\2; kill $!; wait $!"
# Published weights, GPUs, hosts and a library of 500 MB that are not here, and what stands for them.
REPLACED = {
    r"train paper\w*": "train tiny",
    r"released/\S+": "runs/mini",
    r"--device cuda": "--device cpu",
    r"--model.ignored-state-dims 6 7": "--model.ignored-state-dims 1",
    r"(torchrun --nnodes 2) --nproc-per-node 4(.*) host1:\d+(.*)": BOTH_HOSTS,
    r"(--robustness.*) --trials 1": r"\1 --trials 2",
    r" --robustness plus --plus-sample 400": "",  # they are LIBERO's own, as the next are
    r" --paraphrases \S+ --paraphrase-sample 200": "",  # they are LIBERO-Goal's own; tests/evaluation plays some
    r"(evaluate .* results/(?:all|both|part|robust).*)": r"\1 --no-videos",  # most of the time would be theirs
    r" paper=results/spatial .*": " paper=results/all",
    r"(focusvla serve.*)": rf"\1 & {IS_SERVED}; kill $!; wait $!",
    r"(focusvla evaluate --policy websocket://localhost:)8000(.*)": BESIDE_ITS_SERVER,
    r"(.*part-)0 --shard 0 (--num-shards 4) --tasks 2(.*)": ALL_SHARDS,
    **({} if find_spec("rerun") else {r" --rerun \S+": ""}),
}


def pages() -> list[Path]:
    """Of the site, in the order of its contents."""
    contents = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:\n")[2]
    return [ROOT / "docs" / name for name in re.findall(r"- ([\w/-]+\.md)", contents)]


def scripts(page: Path) -> Iterator[str]:
    """What the page shows, in its order, as bash reads it."""
    for shown in SHOWN.finditer(page.read_text("utf-8")):
        yield shown["block"] or made_small(shown["command"])


def made_small(command: str) -> str:
    """The same command for seconds of work."""
    line = re.sub(r"\s+", " ", command.replace("\\\n", " "))
    name = line.partition("focusvla ")[2].partition(" ")[0]
    if name in SMALLER and "--help" not in line:
        line = f"{line} {SMALLER[name]}"
    if name in OTHERWISE_LIBERO and OTHERWISE_LIBERO[name] not in line:
        line = f"{line} {OTHERWISE_LIBERO[name]} reach"
    for pattern, replacement in IN_SMALL_WORLD.items() if name != "regenerate" else ():
        line = re.sub(pattern, replacement, line)
    for pattern, replacement in REPLACED.items():
        line = re.sub(pattern, replacement, line)
    return line


def run(page: Path, folder: Path) -> list[str]:
    """Run what the page shows; an account of each script that failed."""
    failed = []
    for script in scripts(page):
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=folder,
            env={**os.environ, "PATH": path, "HOME": str(folder)},
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )
        if ended.returncode:
            failed.append(f"{page.relative_to(ROOT)}:\n{script}\n{ended.stdout}\n{ended.stderr}")
    return failed


@pytest.fixture(scope="session")
def quickstart(tmp_path_factory) -> Path:
    """A folder with what the quickstart leaves, which the processes of a test run share."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with FileLock(base / "site.lock"):
        if not (base / "site").exists():
            prepare(base / "site")
            failed = run(QUICKSTART, base / "site")
            (base / "site.txt").write_text("\n\n".join(failed))
    failed = (base / "site.txt").read_text()
    assert not failed, failed
    return base / "site"


@pytest.fixture
def folder(quickstart: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(quickstart, tmp_path / "site", symlinks=True))


SMALL_STUDY = """
question = "Does a gate help?"
data = "--data data/object"
train = "--steps 2"
evaluate = "--suites reach --tasks 2 --trials 1"
seeds = [0]
[rows]
gated = "tiny"
plain = "tiny --model.policy-head.gate none"
[[claims]]
better = "gated"
worse = "plain"
"""


MY_POLICY = """
import numpy as np
class MyPolicy:
    cameras, chunk_length, remembers = ("image",), 8, False
    def reset(self): pass
    def infer(self, observation): return np.zeros((8, 2), np.float32)
"""


def prepare(tmp_path: Path) -> None:
    """What the commands find and none of them makes: other people's data, pictures, studies, a home."""
    for study in ("attention.toml", "benchmarks/studies/attention.toml"):
        (tmp_path / study).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / study).write_text(SMALL_STUDY)
    (tmp_path / "my_policy.py").write_text(MY_POLICY)
    for path in ("results", ".local/share/bash-completion/completions", ".zfunc", ".config/fish/completions"):
        (tmp_path / path).mkdir(parents=True)
    mine = write_lerobot(tmp_path / "data/mine", random_source(libero_spec(256), (9, 8, 7)))
    (mine / "meta/spec.json").unlink()
    for name in ("spatial", "kitchen", "long"):
        (tmp_path / "data" / name).symlink_to("object")
    (tmp_path / "results/other").symlink_to("wide")
    write_robotwin(tmp_path / "data/easy", gray_memory(robotwin_spec(32, 32), (9, 8, 7)), older=False)
    run_of_robotwin = tmp_path / "RoboTwin/eval_result/open_laptop/FocusVLA/demo_clean/best/now"
    run_of_robotwin.mkdir(parents=True)
    (run_of_robotwin / "_result.txt").write_text("0.5")
    write_pushed_demonstrations(tmp_path / "data/original/libero_object")
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    for name, picture in zip(("front", "wrist"), pixels, strict=True):
        Image.fromarray(picture).save(tmp_path / f"{name}.png")


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.stem)
def test_no_command_is_shown_in_a_form_that_is_not_run(page: Path):
    assert (
        re.findall(r"^ *(?:torchrun .*)?focusvla .*", SHOWN.sub("", page.read_text("utf-8")), re.MULTILINE)
        == []
    )


@pytest.mark.simulator
@pytest.mark.long
@pytest.mark.parametrize(
    "page", [p for p in pages() if p != QUICKSTART and [*scripts(p)]], ids=lambda page: page.stem
)
def test_every_command_of_a_page_runs(page: Path, folder: Path):
    failed = run(page, folder)
    assert not failed, "\n\n".join(failed)
    assert [report for report in folder.rglob("report.html") if report.stat().st_size < 10_000] == []


def test_the_site_shows_many_commands():
    assert sum(len([*scripts(page)]) for page in pages()) >= 40
