"""What type checkers say of a program."""

import re
import subprocess
import sys
from pathlib import Path

TYPED_USE = Path(__file__).with_name("typed_use.py")

CHECKERS = {
    "mypy": (["mypy", "--no-error-summary", "--no-incremental"], "--python-executable"),
    "pyright": (["basedpyright", "--level", "error"], "--pythonpath"),
}


def find_errors(checker, file, *, folder, python=sys.executable):
    """Returns the errors in a file as (line, text), for a user who works in `folder` with an environment's Python."""
    command, option = CHECKERS[checker]
    command = [sys.executable, "-m", *command, option, str(python), str(file)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    pattern = re.compile(rf"{re.escape(file.name)}:(\d+):(?:\d+)?.*?error: (.*)")
    return [(int(found[1]), found[2]) for found in map(pattern.search, done.stdout.splitlines()) if found]


def check_typed_use(checker, **options):
    """Asserts that a checker reports the lines of `typed_use.py` that say so, and no other."""
    expected = [number for number, line in enumerate(TYPED_USE.read_text().splitlines(), 1) if "# error:" in line]
    errors = find_errors(checker, TYPED_USE, **options)
    assert sorted({number for number, _ in errors}) == expected, errors
