import re

import pytest
from snippets import README, code_blocks, shorten

import vit_keras
from vit_keras import load_preset

PAGES = [README, *sorted(path for path in (README.parent / "docs").rglob("*.md") if "generated" not in path.parts)]
BLOCKS = [
    pytest.param(
        block if page == README else shorten(block),
        marks=[] if page == README else pytest.mark.slow,
        id=f"{page.stem}: {block.strip().splitlines()[-1][:40]}",
    )
    for page in PAGES
    for block in code_blocks(page, "python")
]


def test_readme_is_short_and_opens_with_the_two_commands():
    lines = README.read_text("utf-8").splitlines()
    assert len(lines) <= 100
    commands = [line.split("#")[0].strip() for line in lines if line.startswith("make ")]
    assert commands[:2] == ["make demo", "make test"]


def test_the_presets_and_weights_that_need_a_download_exist():
    (block,) = code_blocks(README, "py")
    compile(block, str(README), "exec")
    named = re.findall(r'from_preset\(\s*"([^"]+)", weights="([^"]+)"', block)
    assert len(named) == 3
    for name, weights in named:
        assert weights in load_preset(name).weights or weights.endswith(".npz")


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_of_the_pages_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(compile(block, str(README), "exec"), {})


def test_pages_import_public_names_alone():
    pages = [README, *(README.parent / "docs").rglob("*.md")]
    modules = {
        name for page in pages for name in re.findall(r"(?:from|import) (vit_keras[\w.]*)", page.read_text("utf-8"))
    }
    public = {"vit_keras", *(f"vit_keras.{name}" for name in vit_keras.__all__)}
    assert "vit_keras.layers" in modules
    assert modules <= public
