import re
from pathlib import Path

import pytest

from vit_keras import load_preset

README = Path(__file__).parents[1] / "README.md"
PAGES = [README, *sorted(path for path in (README.parent / "docs").rglob("*.md") if "generated" not in path.parts)]
BLOCKS = [
    pytest.param(
        block,
        marks=[] if page == README else pytest.mark.slow,
        id=f"{page.stem}: {block.strip().splitlines()[-1][:40]}",
    )
    for page in PAGES
    for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
]


def test_readme_is_short_and_opens_with_the_two_commands():
    lines = README.read_text("utf-8").splitlines()
    assert len(lines) <= 100
    commands = [line.split("#")[0].strip() for line in lines if line.startswith("make ")]
    assert commands[:2] == ["make demo", "make test"]


def test_the_presets_and_weights_that_need_a_download_exist():
    (block,) = re.findall(r"```py\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    compile(block, str(README), "exec")
    named = re.findall(r'from_preset\(\s*"([^"]+)", weights="([^"]+)"', block)
    assert len(named) == 3
    for name, weights in named:
        assert weights in load_preset(name).weights or weights.endswith(".npz")


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_of_the_pages_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, str(README), "exec"), {})
