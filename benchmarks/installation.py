"""What installing costs: the plain package from built wheels and each extra, in clean environments.

    python benchmarks/installation.py [--python python3.13] [--extras libero mini ...] [--without-constraints]

Wheels are built of focusvla, its client and its policy; then for each extra a virtual environment is made, the wheel
installed with it, `focusvla doctor` asked whether the extra is there, and the environment removed. A Markdown row each,
as it is done: packages and MB that come on top of the plain installation's, seconds of the whole command, downloads
included unless pip has them cached. Versions are those of constraints.txt, with which torch is a build for CPUs; without
them whatever is newest, which brings CUDA. What cannot be installed is named, and the exit code is 1.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
WHEELS = (".", "packages/focusvla-client", "packages/focusvla-libero")


@dataclass(frozen=True)
class Installed:
    """What an environment came to."""

    packages: int
    megabytes: float
    seconds: float


def main() -> None:
    """Print a row for the plain package and for each extra."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--extras", nargs="+", default=extras())
    parser.add_argument("--without-constraints", action="store_true")
    arguments = parser.parse_args()
    constraints = [] if arguments.without_constraints else ["--constraint", str(ROOT / "constraints.txt")]
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        wheels = Path(folder) / "wheels"
        build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels)]
        subprocess.run([*build, *(str(ROOT / each) for each in WHEELS)], check=True)
        print("| installed | packages | MB | seconds |\n|---|---|---|---|", flush=True)
        plain = None
        for extra in ("", *arguments.extras):
            name = f"focusvla[{extra}]" if extra else "focusvla"
            try:
                there = install(
                    arguments.python, name, wheels, constraints, Path(folder) / "environment", extra
                )
            except subprocess.CalledProcessError as error:
                said = (error.stderr or error.stdout or "").strip().splitlines()
                print(f"| `{name}` | failed: {said[-1] if said else error} | | |", flush=True)
                failed = True
                continue
            plain = plain or there
            sign = "+" if extra else ""
            packages, size = there.packages, there.megabytes
            if extra:
                packages, size = packages - plain.packages, size - plain.megabytes
            print(f"| `{name}` | {sign}{packages} | {sign}{size:.0f} | {there.seconds:.0f} |", flush=True)
    sys.exit(failed)


def extras() -> list[str]:
    """All that pyproject.toml names, but the developers'."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return [name for name in project["optional-dependencies"] if name != "dev"]


def install(
    python: str, name: str, wheels: Path, constraints: list[str], folder: Path, extra: str
) -> Installed:
    """Install into a new environment, ask it, and remove it.

    Raises:
        subprocess.CalledProcessError: it cannot be installed, or does not find what it has.
    """
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    try:
        inside = str(folder / "bin" / "python")
        began = time.monotonic()
        pip = [inside, "-m", "pip", "--disable-pip-version-check", "install", "--find-links", str(wheels)]
        run([*pip, *constraints, name])
        seconds = time.monotonic() - began
        listed = json.loads(
            run([inside, "-m", "pip", "--disable-pip-version-check", "list", "--format", "json"])
        )
        doctor = subprocess.run(
            [inside, "-m", "focusvla", "doctor", "--json"], capture_output=True, text=True, check=False
        )
        checks = {each["name"]: each for each in json.loads(doctor.stdout)["checks"]}
        asked = {"libero": "simulator", "mini": "encoder weights"}.get(extra, f"extra {extra}")
        if extra and checks[asked]["status"] == "failed":
            raise subprocess.CalledProcessError(1, asked, stderr=checks[asked]["finding"])
        size = sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_dir())
        return Installed(len(listed), size / 1e6, seconds)
    finally:
        subprocess.run(["rm", "-rf", str(folder)], check=True)


def run(command: list[str]) -> str:
    """What it prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
