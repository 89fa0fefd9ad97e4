"""transformers' models are loaded with both spellings of their names, written back, and loaded by transformers again."""

import json

import keras
import numpy as np
import pytest
from faults.directories import IMAGENET, OURS, SIZES, images, outputs_of, write_transformers
from safetensors.numpy import load_file, save_file
from weights.checkpoints import assert_same_bits

from vit_keras.config import ViTConfig
from vit_keras.errors import InvalidArgumentError, WeightMismatchError
from vit_keras.models.vit import model_config, model_num_classes, vit
from vit_keras.presets import load_preset
from vit_keras.weights import AdaptOptions, load, write
from vit_keras.weights.peers import compute_reference
from vit_keras.zoo.from_preset import from_preset

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


# Model class, config class, changes of its config, the output that equals ours, and what pixels are normalized with.
HALF, CLIP = ((0.5,) * 3, (0.5,) * 3), ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
CASES = {
    "vit": ("ViTForImageClassification", "ViTConfig", {}, "logits", HALF),
    "vit without head": ("ViTModel", "ViTConfig", {}, "last_hidden_state", HALF),
    "vit with pooler": ("ViTModel", "ViTConfig", {}, "pooler_output", HALF),
    "deit": ("DeiTForImageClassificationWithTeacher", "DeiTConfig", {}, "logits", IMAGENET),
    "deit with one head": ("DeiTForImageClassification", "DeiTConfig", {}, "logits", IMAGENET),
    "ijepa": ("IJepaForImageClassification", "IJepaConfig", {}, "logits", IMAGENET),
    "msn": ("ViTMSNForImageClassification", "ViTMSNConfig", {}, "logits", IMAGENET),
    "dinov2": ("Dinov2ForImageClassification", "Dinov2Config", {"mlp_ratio": 2}, "logits", IMAGENET),
    "dinov2 gated": ("Dinov2Model", "Dinov2Config", {"mlp_ratio": 3, "use_swiglu_ffn": True}, "pooler_output", IMAGENET),
    "dinov2 with registers": (
        "Dinov2WithRegistersForImageClassification", "Dinov2WithRegistersConfig", {"mlp_ratio": 2}, "logits", IMAGENET,
    ),
    "dinov3": ("DINOv3ViTModel", "DINOv3ViTConfig", {"num_register_tokens": 4}, "pooler_output", IMAGENET),
    "dinov3 without registers": ("DINOv3ViTModel", "DINOv3ViTConfig", {}, "pooler_output", IMAGENET),
    "dinov3 gated": (
        "DINOv3ViTModel", "DINOv3ViTConfig", {"num_register_tokens": 4, "use_gated_mlp": True, "hidden_act": "silu"},
        "pooler_output", IMAGENET,
    ),
    "internvl": ("InternVLVisionModel", "InternVLVisionConfig", {"attention_bias": True}, "last_hidden_state", IMAGENET),
    "beit": ("BeitForImageClassification", "BeitConfig", {"use_relative_position_bias": True}, "logits", HALF),
    "beit of the class token": (
        "BeitModel", "BeitConfig", {"use_shared_relative_position_bias": True, "use_mean_pooling": False}, "pooler_output", HALF,
    ),
    "beit without layer scale": (
        "BeitForImageClassification", "BeitConfig",
        {"use_absolute_position_embeddings": True, "layer_scale_init_value": 0.0, "use_relative_position_bias": True}, "logits", HALF,
    ),
    "data2vec": (
        "Data2VecVisionForImageClassification", "Data2VecVisionConfig", {"use_relative_position_bias": True}, "logits", IMAGENET,
    ),
    "aimv2": ("Aimv2VisionModel", "Aimv2VisionConfig", {"use_head": False}, "mean", CLIP),
    "aimv2 of any size": ("Aimv2VisionModel", "Aimv2VisionConfig", {"is_native": True, "use_head": False}, "mean", CLIP),
    "aimv2 with attention pooling": ("Aimv2VisionModel", "Aimv2VisionConfig", {}, "mean", CLIP),
    "siglip": ("SiglipVisionModel", "SiglipVisionConfig", {}, "pooler_output", HALF),
    "siglip with head": (
        "SiglipForImageClassification", "SiglipConfig", {"vision_config": SIZES, "without": tuple(SIZES)}, "logits", HALF,
    ),
    "clip": ("CLIPVisionModel", "CLIPVisionConfig", {}, "pooler_output", CLIP),
    "owlvit": ("OwlViTVisionModel", "OwlViTVisionConfig", {}, "pooler_output", CLIP),
    "owlv2": ("Owlv2VisionModel", "Owlv2VisionConfig", {}, "pooler_output", CLIP),
    "clip with head": (
        "CLIPForImageClassification", "CLIPConfig", {"vision_config": SIZES, "without": tuple(SIZES)}, "logits", CLIP,
    ),
    "siglip with partial patches": ("SiglipVisionModel", "SiglipVisionConfig", {"patch_size": 7}, "pooler_output", HALF),
    "vit with partial patches": ("ViTForImageClassification", "ViTConfig", {"patch_size": 7}, "logits", HALF),
    "clip with projection": (
        "CLIPVisionModelWithProjection", "CLIPVisionConfig", {"projection_dim": 7}, "image_embeds", CLIP,
    ),
}  # fmt: skip


def make(folder, model: str, config: str, changes: dict[str, object]):
    """Writes one of transformers' models with random weights."""
    without = {"without": ("intermediate_size",)} if "mlp_ratio" in changes else {}
    return write_transformers(folder, model, config, num_labels=5, **without, **changes)


def features_of(theirs, name: str, statistics) -> np.ndarray:
    outputs = outputs_of(theirs, images(), *statistics)
    if name == "mean":
        return outputs["last_hidden_state"].mean(1).numpy()
    output = outputs[name].numpy()
    return output[:, 0] if name == "last_hidden_state" else output


def weights_of(model) -> dict[str, np.ndarray]:
    return {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore")
def test_a_directory_is_loaded_and_written_back_with_the_same_outputs(tmp_path, name):
    model_class, config_class, changes, output, statistics = CASES[name]
    files, memory = tmp_path / "files", tmp_path / "memory"
    theirs = make(files, model_class, config_class, changes)  # with version 4's names
    expected = features_of(theirs, output, statistics)
    memory.mkdir()
    save_file({key: array.numpy() for key, array in theirs.state_dict().items()}, memory / "model.safetensors")

    fields = {"pre_logits_dim": 24} if name == "vit with pooler" else {}
    model = from_preset(files, **fields)
    config, classes = model_config(model), model_num_classes(model)
    again = vit(config, num_classes=classes)
    assert load(again, memory).table.source == "huggingface"
    for each in (model, from_preset(files, num_classes=classes or 0, **fields), again):
        found = keras.ops.convert_to_numpy(each(images().astype("float32")))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=2e-5)

    if name in ("owlvit", "owlv2", "ijepa", "msn", "siglip with head", "dinov3 without registers", "data2vec"):
        return  # these are written as other models or get new registers
    write(weights_of(model), config, tmp_path / "back", to="huggingface")
    if name == "vit":
        assert_same_bits(*(load_file(folder / "model.safetensors") for folder in (tmp_path / "back", files)))
    back, report = type(theirs).from_pretrained(tmp_path / "back", output_loading_info=True)
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    assert {key.split(".")[0] for key in report["missing_keys"]} <= ({"pooler"} if "pooler" not in name else set())
    np.testing.assert_allclose(features_of(back.eval(), output, statistics), expected, rtol=1e-4, atol=1e-5)
    load(again, tmp_path / "back")
    assert_same_bits(weights_of(again), weights_of(model))


def test_ijepas_presets_read_transformers_file_alone(tmp_path):
    name = "vit_huge_patch14_gap_224"
    theirs = write_transformers(tmp_path / "files", "IJepaModel", "IJepaConfig", layer_norm_eps=1e-6)
    expected = outputs_of(theirs, images(), *IMAGENET)["last_hidden_state"].numpy().mean(1)
    path = (tmp_path / "files" / "model.safetensors").rename(tmp_path / "model.safetensors")  # without its config.json
    assert {checkpoint.source for checkpoint in load_preset(name).weights.values()} == {"huggingface"}
    model = from_preset(name, weights=path, **OURS)
    np.testing.assert_allclose(model.predict(images(), verbose=0), expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("name", ["beit without head", "aimv2"])
def test_verify_compares_with_the_output_that_is_ours(tmp_path, name):
    model_class, config_class, changes, *_ = CASES["aimv2"] if name == "aimv2" else ("BeitModel", *CASES["beit"][1:])
    make(tmp_path, model_class, config_class, changes)
    model = from_preset(tmp_path)
    reference = compute_reference(tmp_path, model_config(model))
    found = keras.ops.convert_to_numpy(model(reference.pixels))
    np.testing.assert_allclose(found, reference.logits, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("shared", [False, True])
def test_beit_of_masked_pretraining_is_read_without_its_decoder(tmp_path, shared):
    bias = {"use_relative_position_bias": not shared, "use_shared_relative_position_bias": shared}
    settings = {**bias, "use_mask_token": True, "vocab_size": 11}
    theirs = write_transformers(tmp_path, "BeitForMaskedImageModeling", "BeitConfig", **settings)
    with torch.no_grad():
        expected = theirs.layernorm(outputs_of(theirs.beit, images(), *HALF)["last_hidden_state"])[:, 0].numpy()
    model = from_preset(tmp_path)
    assert model_config(model).relative_position_shared == shared
    np.testing.assert_allclose(model.predict(images(), verbose=0), expected, rtol=1e-4, atol=2e-5)


def test_a_beit_with_both_biases_is_refused(tmp_path):
    both = {"use_relative_position_bias": True, "use_shared_relative_position_bias": True}
    write_transformers(tmp_path / "beit", "BeitModel", "BeitConfig", **both)
    with pytest.raises(
        InvalidArgumentError, match="use_relative_position_bias and use_shared_relative_position_bias are both true"
    ):
        from_preset(tmp_path / "beit")


def test_an_aimv2_of_any_size_is_one_for_images_of_another_shape_and_without_is_native(tmp_path):
    changes = {"is_native": True, "use_head": False}
    theirs = make(tmp_path, "Aimv2VisionModel", "Aimv2VisionConfig", changes)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    assert config.pop("is_native")  # as in Apple's own files
    path.write_text(json.dumps(config))
    wide = np.random.default_rng(0).integers(0, 256, (2, 24, 56, 3)).astype("uint8")
    expected = outputs_of(theirs, wide, *CLIP)["last_hidden_state"].numpy().mean(1)
    model = from_preset(tmp_path, dynamic_image_size=True)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model(wide)), expected, rtol=1e-4, atol=2e-5)


def test_the_tower_of_aimv2_is_read_from_a_model_of_images_and_text(tmp_path):
    text = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "vocab_size": 10,
    }
    config = transformers.Aimv2Config(vision_config=SIZES, text_config=text, projection_dim=6)
    theirs = transformers.Aimv2Model(config).eval()
    theirs.save_pretrained(tmp_path)
    expected = outputs_of(theirs.vision_model, images(), *CLIP)["last_hidden_state"].mean(1).numpy()
    model = from_preset(tmp_path)
    np.testing.assert_allclose(model.predict(images(), verbose=0), expected, rtol=1e-4, atol=2e-5)


def test_a_model_in_shards_is_loaded(tmp_path):
    theirs = make(tmp_path, "ViTForImageClassification", "ViTConfig", {})
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    (tmp_path / "model.safetensors").unlink(missing_ok=True)
    model = vit(ViTConfig(**OURS), num_classes=5)
    load(model, tmp_path)
    np.testing.assert_array_equal(weights_of(model)["head/bias"], theirs.classifier.bias.detach().numpy())


@pytest.mark.parametrize("model_class", ["ViTMAEForPreTraining", "ViTMAEModel", "ViTMSNForImageClassification"])
def test_towers_are_read_without_their_training_layers(tmp_path, model_class):
    decoder = {"decoder_hidden_size": 8, "decoder_num_attention_heads": 2, "decoder_num_hidden_layers": 1}
    config_class, changes = ("ViTMAEConfig", decoder) if "MAE" in model_class else ("ViTMSNConfig", {})
    make(tmp_path, model_class, config_class, changes)
    notes = load(vit(ViTConfig(**OURS, pooling="mean", final_norm="after"), num_classes=3), tmp_path).notes
    assert any("decoder of masked patches" in note for note in notes) == ("ForPreTraining" in model_class)


@pytest.mark.parametrize("name", ["OwlViT", "Owlv2"])
def test_the_tower_of_a_detector_is_read_from_its_directory(tmp_path, name):
    text = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "vocab_size": 10,
    }
    config = getattr(transformers, f"{name}Config")(vision_config=SIZES, text_config=text, projection_dim=24)
    theirs = getattr(transformers, f"{name}ForObjectDetection")(config).eval()
    theirs.save_pretrained(tmp_path)
    tower = (theirs.owlvit if name == "OwlViT" else theirs.owlv2).vision_model
    expected = outputs_of(tower, images(), *CLIP)["pooler_output"].numpy()
    model = from_preset(tmp_path, num_classes=0)
    np.testing.assert_allclose(model.predict(images(), verbose=0), expected, rtol=1e-4, atol=2e-5)


def test_towers_are_read_from_models_of_images_and_text(tmp_path):
    text = {
        "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8, "vocab_size": 10,
    }  # fmt: skip
    theirs = transformers.CLIPModel(transformers.CLIPConfig(vision_config=SIZES, text_config=text, projection_dim=6))
    theirs.save_pretrained(tmp_path)
    model = vit(ViTConfig(**OURS, stem_norm=True, patch_bias=False, activation="quick_gelu"), num_classes=6)
    load(model, tmp_path)
    np.testing.assert_array_equal(weights_of(model)["head/kernel"], theirs.visual_projection.weight.detach().numpy().T)
    assert not weights_of(model)["head/bias"].any()


def test_dinov3_without_biases_is_read_where_they_are_zero(tmp_path):
    theirs = make(tmp_path, "DINOv3ViTModel", "DINOv3ViTConfig", {"num_register_tokens": 4})
    model = vit(model_config(from_preset(tmp_path)).replace(qkv_bias="none"))
    with pytest.raises(WeightMismatchError, match="not zero"):
        load(model, tmp_path)
    for name, weight in theirs.named_parameters():
        if name.endswith(("q_proj.bias", "v_proj.bias")):
            torch.nn.init.zeros_(weight)
    theirs.save_pretrained(tmp_path)
    assert "left out: biases that are all zero" in load(model, tmp_path).notes


def test_a_head_on_other_features_is_refused_or_new(tmp_path):
    make(tmp_path, "Dinov2ForImageClassification", "Dinov2Config", {"mlp_ratio": 2})
    model = vit(ViTConfig(**OURS, layer_scale=1.0), num_classes=5)
    with pytest.raises(WeightMismatchError, match="build the model with pooling='token_and_mean'"):
        load(model, tmp_path)
    notes = load(model, tmp_path, adapt=AdaptOptions(head="new")).notes
    assert "the file's model has pooling='token_and_mean'" in " ".join(notes)
    assert not weights_of(model)["head/kernel"].any()
