"""What is built and installed is what is tried here from the sources."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="needs the extra `dev`")

ROOT = Path(__file__).parents[1]
PROJECTS = (ROOT, ROOT / "packages" / "focusvla-client", ROOT / "packages" / "focusvla-libero")
NAMES = ["focusvla", "focusvla_client", "focusvla_libero"]


def run(*command: object) -> str:
    ended = subprocess.run([*map(str, command)], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.slow
def test_a_wheel_in_a_clean_environment_has_every_file_and_its_command_runs(tmp_path: Path):
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path / "wheels", *PROJECTS)
    wheels = sorted((tmp_path / "wheels").glob("*.whl"))
    assert [wheel.name.partition("-")[0] for wheel in wheels] == NAMES
    for wheel, project, name in zip(wheels, PROJECTS, NAMES, strict=True):
        package = project / "src" / name
        ours = {
            str(file.relative_to(package.parent))
            for file in package.rglob("*")
            if file.is_file() and "__pycache__" not in file.parts
        }
        assert ours <= set(zipfile.ZipFile(wheel).namelist())

    environment = tmp_path / "environment"
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    run(*pip, "--python", environment / "bin/python", "install", "--no-deps", *wheels)
    # Dependencies are those of this environment, whose own focusvla is not seen: a path within a path is not followed.
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    paths = environment / "lib" / version / "site-packages" / "dependencies.pth"
    paths.write_text(sysconfig.get_path("purelib") + "\n")
    where = run(environment / "bin/python", "-I", "-c", "import focusvla; print(focusvla.__file__)")
    assert where.startswith(str(environment))
    found = run(
        environment / "bin/python", "-I", "-c", "from focusvla_libero import CHECKPOINT; print(CHECKPOINT)"
    )
    assert found.startswith(str(environment))
    assert "focusvla quickstart" in run(environment / "bin/focusvla", "quickstart", "--help")
