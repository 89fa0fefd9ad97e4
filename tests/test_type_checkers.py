import subprocess
import sys
from pathlib import Path

import pytest

import vit_keras as vk

ROOMS = ("data", "explain", "training", "tuning", "weights")
PACKAGES = {"vk": vk, **{f"vk.{name}": getattr(vk, name) for name in ROOMS}}
CHECKERS = {"mypy": ["mypy", "--no-error-summary"], "pyright": ["basedpyright", "--level", "error"]}


@pytest.mark.slow
@pytest.mark.parametrize("checker", CHECKERS)
def test_type_checkers_know_every_public_name_and_no_other(checker, tmp_path):
    names = [f"{package}.{name}" for package, module in PACKAGES.items() for name in module.__all__]
    wrong = [f"{package}.no_such_name" for package in PACKAGES]
    sample = tmp_path / "sample.py"
    sample.write_text("import vit_keras as vk\n" + "".join(f"print({name})\n" for name in names + wrong))
    command, root = [sys.executable, "-m", *CHECKERS[checker], str(sample)], Path(vk.__file__).parents[1]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    errors = [line for line in done.stdout.splitlines() if "error" in line and "sample.py" in line]
    assert len(errors) == len(wrong), done.stdout + done.stderr
    assert all("no_such_name" in line for line in errors)
