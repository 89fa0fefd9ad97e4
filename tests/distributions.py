"""The distributions of this checkout, and environments to install them in."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]


def done(*command, **options):
    """Runs a command and returns what it prints."""
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def build(folder, *options):
    """Builds the sdist, and the wheel from it; or what `options` say."""
    isolation = ["--no-isolation"] if find_spec("hatchling") else []
    done(sys.executable, "-m", "build", *isolation, *options, "--outdir", folder, ROOT)


def environment(folder, *options):
    """Creates an environment and returns its Python."""
    done(sys.executable, "-m", "venv", *options, folder)
    return programs(folder) / "python"


def programs(folder):
    """Returns where an environment has its programs."""
    return folder / ("Scripts" if sys.platform == "win32" else "bin")
