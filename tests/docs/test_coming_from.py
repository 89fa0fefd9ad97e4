"""The pairs of snippets of docs/coming_from.md compute the same, where the other library is installed."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "check_coming_from.py"


def load_script():
    spec = importlib.util.spec_from_file_location("check_coming_from", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


script = load_script()
PAIRS = script.read_pairs(script.PAGE.read_text("utf-8"))


@pytest.mark.any_backend
def test_the_pairs_are_found_in_their_sections():
    assert {"timm", "transformers", "KerasHub", "torchvision"} <= PAIRS.keys()
    assert all("outputs = " in snippet for pair in PAIRS.values() for snippet in pair)
    assert "import timm" in PAIRS["timm"][0]
    assert "import vit_keras" in PAIRS["timm"][1]


@pytest.mark.any_backend
def test_a_difference_and_a_failure_are_seen(tmp_path):
    save = "outputs = pixels[:, 0, 0].astype('float32')"
    assert script.run_pair((save, save), sys.executable) == 0
    assert script.run_pair((save, save + " + 1"), sys.executable) > script.LIMIT
    with pytest.raises(RuntimeError, match="NameError"):
        script.run_pair((save, "outputs = missing"), sys.executable)


@pytest.mark.slow
@pytest.mark.parametrize("library", PAIRS)
def test_a_pair_computes_the_same(library):
    if script.find_version(sys.executable, library) is None:
        pytest.skip(f"{library} is not installed; scripts/check_coming_from.py --peers runs it elsewhere")
    assert script.run_pair(PAIRS[library], sys.executable) < script.LIMIT
