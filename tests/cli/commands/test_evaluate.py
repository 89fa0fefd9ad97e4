import json


def test_a_model_is_measured_on_a_folder(run, tiny_preset, image_folder):
    code, out, _ = run("evaluate", tiny_preset, image_folder, "--split", "all", "--json")
    assert code == 0
    result = json.loads(out)
    assert (result["images"], [row["name"] for row in result["classes"]]) == (11, ["cat", "dog", "owl"])
    code, out, _ = run("evaluate", tiny_preset, image_folder, "--split", "all")
    assert code == 0
    assert out.startswith("11 images: accuracy")


def test_a_path_without_a_finished_run_is_refused_and_told_how_to_resume(refused, interrupted, tmp_path):
    refused(2, f"vit-keras train --resume --run-dir {interrupted}", "evaluate", interrupted)
    refused(6, "nowhere: there is no such file or directory", "evaluate", tmp_path / "nowhere")


def test_a_damaged_record_is_named(run, interrupted):
    for content in ("", "[]", '{"status": "interrupted", "options": 3}', '{"status": 1, "options": {"x": 1}}'):
        (interrupted / "run.json").write_text(content)
        for command in (("train", "--resume", "--run-dir", interrupted), ("evaluate", interrupted)):
            code, _, err = run(*command)
            assert (code in (2, 4), "run.json" in err, "Traceback" in err) == (True, True, False), err


def test_a_model_is_measured_on_a_table(run, tiny_preset, image_folder, tmp_path):
    rows = [f"{path.relative_to(image_folder)};{path.parent.name};test" for path in sorted(image_folder.rglob("*.png"))]
    (tmp_path / "table.csv").write_text("\n".join(["datei;art;x", *rows]))
    options = (
        "--image-dir",
        image_folder,
        "--image-column",
        "datei",
        "--label-column",
        "art",
        "--split",
        "all",
        "--json",
    )
    code, out, err = run("evaluate", tiny_preset, tmp_path / "table.csv", *options)
    assert code == 0, err
    expected = json.loads(run("evaluate", tiny_preset, image_folder, "--split", "all", "--json")[1])
    assert json.loads(out) == expected


def test_features_are_measured_instead_of_the_head(run, refused, tiny_preset, image_folder):
    code, out, err = run("evaluate", "--features", tiny_preset, image_folder, "--split", "validation", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert (result["split"], result["images"] > 0) == ("validation", True)
    assert set(result["random weights"]) == {"knn_accuracy", "linear_accuracy", "rank", "uniformity"}
    refused(2, "--features needs SOURCE", "evaluate", "--features", tiny_preset)
