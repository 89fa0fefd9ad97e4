"""Prints, as constraints for pip, the oldest version of each library that pyproject.toml allows: of the core and of the extras for users.

python scripts/oldest_versions.py > constraints.txt
"""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
DEVELOPMENT = {"dev", "docs"}  # extras whose versions no user meets


def oldest_versions() -> list[str]:
    """Returns a constraint per library, such as "keras==3.15"."""
    project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    requirements = [*project["dependencies"], *(each for name in extras.keys() - DEVELOPMENT for each in extras[name])]
    return sorted({re.sub(r"\[.*\]", "", each).replace(">=", "==") for each in requirements})


if __name__ == "__main__":
    print(*oldest_versions(), sep="\n")
