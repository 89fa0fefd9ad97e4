"""Prints the test files of what differs from a commit: `python scripts/changed_tests.py [COMMIT]`, by default the last one.

A module's tests are at the same path below `tests/`, or where `tests/tested_elsewhere.toml` says; those of pages are in `tests/docs/`.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def tests_of(path: Path) -> list[Path]:
    """Returns the test files that a changed file selects, relative to the repository."""
    if path.parts[0] == "tests":
        return [path] if path.name.startswith("test_") and (ROOT / path).is_file() else []
    if path.parts[0] == "docs" or path == Path("README.md"):
        return [found.relative_to(ROOT) for found in sorted((ROOT / "tests" / "docs").glob("test_*.py"))]
    if path.parts[0] != "vit_keras" or path.suffix not in (".py", ".pyi"):
        return []
    own = Path("tests", *path.parts[1:-1], f"test_{path.stem}.py")
    if (ROOT / own).is_file():
        return [own]
    elsewhere = tomllib.loads((ROOT / "tests" / "tested_elsewhere.toml").read_text("utf-8"))
    module = ".".join(path.with_suffix("").parts[1:])
    return [Path(test) for test, modules in elsewhere.items() if module in modules]


def changed_files(commit: str) -> list[Path]:
    """Returns the files that differ from a commit, and those that git does not know yet."""
    commands = [["git", "diff", "--name-only", commit], ["git", "ls-files", "--others", "--exclude-standard"]]
    listed = [subprocess.run(each, cwd=ROOT, capture_output=True, text=True, check=True).stdout for each in commands]
    return [Path(line) for text in listed for line in text.splitlines()]


if __name__ == "__main__":
    commit = sys.argv[1] if len(sys.argv) > 1 else "HEAD"
    print(*sorted({str(test) for path in changed_files(commit) for test in tests_of(path)}))
