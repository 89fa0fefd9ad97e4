import json

import onnx
import pytest


def test_export_writes_a_checked_file_and_says_what_it_is(run, tiny_preset, image_folder, tmp_path):
    path = tmp_path / "tiny.onnx"
    code, out, err = run("export", tiny_preset, path, "--calibration", image_folder, "--softmax", "--quiet")
    assert (code, err) == (0, "")
    assert "tiny.onnx" in out
    assert "checked on" in out
    assert "11 labeled images" in out
    assert onnx.load(path).graph.output[0].name == "probabilities"


def test_export_as_json_with_more_outputs(run, tiny_preset, tmp_path):
    path = tmp_path / "tiny.onnx"
    code, out, _ = run(
        "export", tiny_preset, path, "--output", "attention", "--output", "tokens", "--opset", "17", "--json"
    )
    assert code == 0
    found = json.loads(out)
    assert (found["path"], found["format"]) == (str(path), "onnx")
    assert found["verification"]["largest_difference"] < 1e-4
    assert [each.name for each in onnx.load(path).graph.output] == ["logits", "attention", "tokens"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("PRESET", "out.pdf"), 2, "says no format"),
        (("PRESET", "out.onnx", "--precision", "int4"), 2, "--precision 'int4' is none of"),
        (("PRESET", "taken.onnx"), 6, "add --overwrite"),
        (("nothing", "out.onnx"), 2, "There is no preset 'nothing'"),
        (("vit_tiny_patch16_224", "out.onnx"), 2, "is a preset without weights"),
        (("PRESET", "out.onnx", "--calibration", "nowhere/"), 3, "nowhere"),
    ],
)
def test_a_mistake_is_answered_at_once_and_nothing_is_written(
    run, tiny_preset, tmp_path, monkeypatch, arguments, code, words
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.onnx").write_bytes(b"mine")
    found, out, err = run("export", *(tiny_preset if word == "PRESET" else word for word in arguments))
    assert (found, out) == (code, "")
    assert words in err
    assert [(each.name, each.read_bytes()) for each in tmp_path.iterdir()] == [("taken.onnx", b"mine")]
