"""Cells as a user runs them, in a real kernel."""

import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

CELLS = (
    "import vit_keras as vk\ndata = vk.data.load('emoji', limit=64, batch_size=16)\ndata",
    "vk.explain.show(list(data.splits['test'].images[:4]))",
    "model = vk.from_preset('vit_nano_conv8_32', num_classes=8, num_layers=1)\n"
    "result = vk.train(model, data, epochs=2, run_dir=RUN)\nresult",
)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """The outputs of each cell."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    folder = tmp_path_factory.mktemp("notebook")
    sources = [cell.replace("RUN", repr(str(folder / "run"))) for cell in CELLS]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in sources])
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": "."}}
    )
    client.kernel_cmd = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    client.execute()
    assert Path(folder / "run" / "report.html").is_file()
    return [cell.outputs for cell in notebook.cells]


def shown(outputs, kind):
    return [output.data[kind] for output in outputs if kind in output.get("data", {})]


def test_data_show_their_classes_and_images(outputs):
    (html,) = shown(outputs[0], "text/html")
    assert "Smileys &amp; Emotion" in html
    assert html.count("<img") == 12


def test_a_figure_appears(outputs):
    assert len(shown(outputs[1], "image/png")) == 1


def test_training_prints_its_epochs_and_removes_its_bar(outputs):
    printed = "".join(output.text for output in outputs[2] if output.get("name") == "stdout")
    assert "epoch   1/2" in printed
    assert "epoch   2/2" in printed
    assert "\x1b" not in printed  # no terminal codes
    assert not any("<progress" in html for html in shown(outputs[2], "text/html"))
