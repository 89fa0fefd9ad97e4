import json
from pathlib import Path

GOLDEN = Path(__file__).parents[3] / "golden" / "timm"


def test_verify_compares_block_by_block(run):
    code, out, _ = run("verify", GOLDEN / "eva02.safetensors", "--json")
    assert code == 0
    assert [entry["output"] for entry in json.loads(out)["differences"]] == ["block 0", "block 1", "logits"]
    assert "logits" in run("verify", GOLDEN / "vit.safetensors")[1]


def test_verify_refuses_another_model_and_another_file(run, refused, foreign, tmp_path):
    run("convert", foreign, tmp_path / "ours", "--preset", "test_vit")
    message = "The reference has 6 blocks and images of (64, 64, 3)"
    refused(4, message, "verify", GOLDEN / "test_vit.safetensors", "--preset", tmp_path / "ours")
    refused(4, "this is not a reference", "verify", GOLDEN / "google_augreg.reference.safetensors")
