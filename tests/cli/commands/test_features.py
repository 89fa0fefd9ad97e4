import json

import numpy as np

import vit_keras as vk


def test_features_of_a_folder_are_written_with_the_images_that_cannot_be_read(run, tiny_preset, image_folder, tmp_path):
    code, out, err = run("features", tiny_preset, image_folder, "--out", tmp_path / "f.npz", "--batch-size", 4)
    assert (code, out) == (0, f"features     {tmp_path / 'f.npz'} (11 images of 16)\n"), err
    vk.save_features(tiny_preset, image_folder, out=tmp_path / "same.npz", batch_size=4)
    with np.load(tmp_path / "f.npz") as found, np.load(tmp_path / "same.npz") as expected:
        assert {name: found[name].tolist() for name in found} == {name: expected[name].tolist() for name in expected}
    (image_folder / "cat" / "00.png").write_bytes(b"")
    code, out, _ = run("features", tiny_preset, f"{image_folder}/*/*.png", "--out", tmp_path / "g.npz", "--json")
    assert code == 3
    assert json.loads(out) == {"file": str(tmp_path / "g.npz"), "images": 11, "failed": 1, "dim": 16}


def test_a_file_that_exists_or_has_another_ending_is_refused(refused, tiny_preset, image_folder, tmp_path):
    (tmp_path / "f.npz").write_bytes(b"mine")
    refused(6, "nothing is overwritten", "features", tiny_preset, image_folder, "--out", tmp_path / "f.npz")
    refused(2, "must end in .npz or .parquet", "features", tiny_preset, image_folder, "--out", tmp_path / "f.txt")
