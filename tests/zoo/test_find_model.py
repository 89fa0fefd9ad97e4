from pathlib import Path

import pytest

from vit_keras.errors import InvalidArgumentError, StorageError
from vit_keras.zoo.find_model import FoundModel, find_model, model_word

SMALL = "vit_pico_patch4_32"


def test_a_word_names_a_preset_its_weights_a_file_or_a_directory(tiny_preset, tmp_path):
    file = tiny_preset / "model.safetensors"
    assert find_model(SMALL) == FoundModel(preset=SMALL)
    assert find_model("test_vit:r160_in1k") == FoundModel(preset="test_vit", tag="r160_in1k")
    assert find_model(str(file)) == find_model(file) == FoundModel(path=file)
    assert find_model(str(tiny_preset)) == find_model(tiny_preset) == FoundModel(path=tiny_preset)


def test_a_run_directory_stands_for_its_model(tiny_preset, tmp_path):
    (tmp_path / "model").symlink_to(tiny_preset)
    assert find_model(tmp_path).path == tmp_path / "model"
    (tmp_path / "config.json").write_text("{}")
    assert find_model(tmp_path).path == tmp_path


def test_a_preset_takes_precedence_over_a_directory_but_not_over_a_path(tmp_path, monkeypatch):
    (tmp_path / SMALL).mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_model(SMALL).preset == SMALL
    assert find_model(Path(SMALL)).path == find_model(f"./{SMALL}").path == Path(SMALL)


def test_a_word_names_the_same_model_again(tmp_path):
    for model, word in ((SMALL, SMALL), (Path(SMALL), f"./{SMALL}"), (tmp_path, str(tmp_path))):
        assert model_word(model) == word


def test_anything_else_is_refused(tmp_path):
    for path in (tmp_path / "nowhere", str(tmp_path / "nowhere"), Path(f"{SMALL}x")):
        with pytest.raises(StorageError, match="there is no such file or directory"):
            find_model(path)
    with pytest.raises(
        InvalidArgumentError, match=f"no preset 'vit_pico_patch4_33', and no file.*closest names are {SMALL},"
    ):
        find_model("vit_pico_patch4_33")


def test_names_of_timm_and_hugging_face_are_weights_of_presets_unless_a_path_has_the_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = FoundModel(preset="test_vit", tag="r160_in1k")
    words = ("test_vit.r160_in1k", "timm/test_vit.r160_in1k", "hf_hub:timm/test_vit.r160_in1k")
    assert [find_model(word) for word in words] == [expected] * 3
    found = find_model("google/vit-base-patch16-224")
    assert (found.preset, found.tag) == ("vit_base_patch16_224", "orig_in21k_ft_in1k")
    assert found.config == {"norm_epsilon": 1e-12}
    (tmp_path / "google" / "vit-base-patch16-224").mkdir(parents=True)
    (tmp_path / "test_vit.r160_in1k").touch()
    assert find_model("google/vit-base-patch16-224").path == Path("google/vit-base-patch16-224")
    assert find_model("test_vit.r160_in1k").path == Path("test_vit.r160_in1k")


def test_an_unknown_model_on_hugging_face_gets_the_nearest_and_how_to_download_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    message = r"no such file or directory, and no weights.*are google/vit-base-patch16-224,.*hf download google/vit-bse-patch16-224"
    with pytest.raises(StorageError, match=message):
        find_model("google/vit-bse-patch16-224")
    (tmp_path / "runs").mkdir()
    with pytest.raises(StorageError, match=r"^runs/photos-9: there is no such file or directory\.$"):
        find_model("runs/photos-9")
