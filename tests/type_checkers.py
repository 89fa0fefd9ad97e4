"""What type checkers say of a program."""

import re
import subprocess
import sys
from pathlib import Path

TYPED_USE = Path(__file__).with_name("typed_use.py")

CHECKERS = {
    "mypy": (["mypy", "--no-error-summary"], "--python-executable"),
    "pyright": (["basedpyright", "--level", "error"], "--pythonpath"),
}


def find_errors(checker, *files, folder, python=sys.executable):
    """Returns the errors of each file as (line, text), for a user who works in `folder` with an environment's Python."""
    command, option = CHECKERS[checker]
    command = [sys.executable, "-m", *command, option, str(python), *map(str, files)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    lines, errors = done.stdout.splitlines(), []
    for file in files:
        pattern = re.compile(rf"{re.escape(file.name)}:(\d+):(?:\d+)?.*?error: (.*)")
        errors.append([(int(found[1]), found[2]) for found in map(pattern.search, lines) if found])
    return errors


def check_typed_use(errors):
    """Asserts that the errors of `typed_use.py` are in the lines that say so, and in no other."""
    expected = [number for number, line in enumerate(TYPED_USE.read_text().splitlines(), 1) if "# error:" in line]
    assert sorted({number for number, _ in errors}) == expected, errors
