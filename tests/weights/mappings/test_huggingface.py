"""transformers' models are loaded with both spellings of their names, written back, and loaded by transformers again."""

import keras
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from weights.checkpoints import assert_same_bits

from vit_keras.config import ViTConfig
from vit_keras.models.vit import vit
from vit_keras.weights import AdaptOptions, load, write

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

THEIRS = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48, "image_size": 32,
    "patch_size": 8, "num_labels": 5,
}  # fmt: skip
OURS = {"hidden_dim": 24, "num_layers": 2, "num_heads": 2, "mlp_dim": 48, "image_size": 32, "patch_size": 8}
DINOV2 = {name: value for name, value in THEIRS.items() if name != "intermediate_size"}
SCALED = {"layer_scale": 1.0}
GATED = {"gated_mlp": True, "activation": "silu"}
DINOV3 = {
    **SCALED, "num_registers": 4, "position_embedding": "none", "rotary_embedding": "centered",
    "qkv_bias": "query_value", "norm_epsilon": 1e-5,
}  # fmt: skip
CLIP = {"stem_norm": True, "patch_bias": False, "activation": "quick_gelu", "norm_epsilon": 1e-5}
BOTH = {"pooling": "token_and_mean"}

# Model class, config class and changes of its config; changes of our config, classes, and the output that equals ours.
CASES = {
    "vit": ("ViTForImageClassification", "ViTConfig", {}, {"norm_epsilon": 1e-12}, 5, "logits"),
    "vit without head": ("ViTModel", "ViTConfig", {}, {"norm_epsilon": 1e-12}, None, "last_hidden_state"),
    "vit with pooler": ("ViTModel", "ViTConfig", {}, {"norm_epsilon": 1e-12, "pre_logits_dim": 24}, None, "pooler_output"),
    "deit": (
        "DeiTForImageClassificationWithTeacher", "DeiTConfig", {}, {"norm_epsilon": 1e-12, "distillation_token": True}, 5,
        "logits",
    ),
    "dinov2": ("Dinov2ForImageClassification", "Dinov2Config", {"mlp_ratio": 2}, {**SCALED, **BOTH}, 5, "logits"),
    "dinov2 gated": (
        "Dinov2Model", "Dinov2Config", {"mlp_ratio": 3, "use_swiglu_ffn": True}, {**SCALED, **GATED}, None, "pooler_output",
    ),
    "dinov2 with registers": (
        "Dinov2WithRegistersForImageClassification", "Dinov2WithRegistersConfig", {"mlp_ratio": 2},
        {**SCALED, **BOTH, "num_registers": 4, "position_on_prefix": False}, 5, "logits",
    ),
    "dinov3": ("DINOv3ViTModel", "DINOv3ViTConfig", {"num_register_tokens": 4}, DINOV3, None, "pooler_output"),
    "dinov3 gated": (
        "DINOv3ViTModel", "DINOv3ViTConfig", {"num_register_tokens": 4, "use_gated_mlp": True, "hidden_act": "silu"},
        {**DINOV3, **GATED}, None, "pooler_output",
    ),
    "siglip": (
        "SiglipVisionModel", "SiglipVisionConfig", {},
        {"class_token": False, "pooling": "map", "activation": "gelu_tanh"}, None, "pooler_output",
    ),
    "clip": ("CLIPVisionModel", "CLIPVisionConfig", {}, CLIP, None, "pooler_output"),
    "clip with projection": (
        "CLIPVisionModelWithProjection", "CLIPVisionConfig", {"projection_dim": 7}, CLIP, 7, "image_embeds",
    ),
}  # fmt: skip


def make(model: str, config: str, changes: dict[str, object]):
    """Returns one of transformers' models with random weights."""
    base = DINOV2 if "mlp_ratio" in changes else THEIRS
    torch.manual_seed(0)
    theirs = getattr(transformers, model)(getattr(transformers, config)(**base, **changes)).eval()
    for weight in theirs.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return theirs


def output_of(theirs, pixels: np.ndarray, name: str) -> np.ndarray:
    images = torch.from_numpy(pixels.transpose(0, 3, 1, 2) / 127.5 - 1)
    with torch.no_grad():
        output = theirs(pixel_values=images)[name].numpy()
    return output[:, 0] if name == "last_hidden_state" else output


def weights_of(model) -> dict[str, np.ndarray]:
    return {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore")
def test_a_model_is_loaded_and_written_back_with_the_same_outputs(tmp_path, rng, name):
    model_class, config_class, changes, ours, classes, output = CASES[name]
    config = ViTConfig(**{**OURS, **ours})
    theirs = make(model_class, config_class, changes)
    pixels = rng.uniform(0, 255, size=(2, 32, 32, 3)).astype("float32")
    expected = output_of(theirs, pixels, output)

    theirs.save_pretrained(tmp_path / "files")  # version 4's names
    (tmp_path / "memory").mkdir()
    save_file(
        {key: array.numpy() for key, array in theirs.state_dict().items()}, tmp_path / "memory" / "model.safetensors"
    )
    for folder in ("files", "memory"):
        model = vit(config, num_classes=classes)
        steps = load(model, tmp_path / folder)
        assert steps.table.source == "huggingface"
        np.testing.assert_allclose(keras.ops.convert_to_numpy(model(pixels)), expected, rtol=1e-4, atol=1e-5)

    write(weights_of(model), config, tmp_path / "back", to="huggingface")
    back, report = type(theirs).from_pretrained(tmp_path / "back", output_loading_info=True)
    assert not report["unexpected_keys"]
    assert not report["mismatched_keys"]
    assert {key.split(".")[0] for key in report["missing_keys"]} <= ({"pooler"} if "pooler" not in name else set())
    np.testing.assert_allclose(output_of(back.eval(), pixels, output), expected, rtol=1e-4, atol=1e-5)
    again = vit(config, num_classes=classes)
    load(again, tmp_path / "back")
    assert_same_bits(weights_of(again), weights_of(model))


def test_written_names_are_those_of_version_4(tmp_path):
    theirs = make("ViTForImageClassification", "ViTConfig", {})
    theirs.save_pretrained(tmp_path / "files")
    config = ViTConfig(**OURS, norm_epsilon=1e-12)
    model = vit(config, num_classes=5)
    load(model, tmp_path / "files")
    write(weights_of(model), config, tmp_path / "back", to="huggingface")
    assert_same_bits(
        load_file(tmp_path / "back" / "model.safetensors"), load_file(tmp_path / "files" / "model.safetensors")
    )


def test_a_model_in_shards_is_loaded(tmp_path):
    theirs = make("ViTForImageClassification", "ViTConfig", {})
    theirs.save_pretrained(tmp_path, max_shard_size="20KB")
    assert (tmp_path / "model.safetensors.index.json").is_file()
    model = vit(ViTConfig(**OURS), num_classes=5)
    load(model, tmp_path)
    np.testing.assert_array_equal(weights_of(model)["head/bias"], theirs.classifier.bias.detach().numpy())


@pytest.mark.parametrize("model_class", ["ViTMAEForPreTraining", "ViTMAEModel", "ViTMSNForImageClassification"])
def test_towers_are_read_without_their_training_layers(tmp_path, model_class):
    config_class = "ViTMAEConfig" if "MAE" in model_class else "ViTMSNConfig"
    decoder = {"decoder_hidden_size": 8, "decoder_num_attention_heads": 2, "decoder_num_hidden_layers": 1}
    make(model_class, config_class, decoder if "MAE" in model_class else {}).save_pretrained(tmp_path)
    model = vit(ViTConfig(**OURS, pooling="mean", final_norm="after"), num_classes=3)
    notes = load(model, tmp_path).notes
    assert any("decoder of masked patches" in note for note in notes) == ("ForPreTraining" in model_class)


def test_towers_are_read_from_models_of_images_and_text(tmp_path):
    text = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 8,
        "vocab_size": 10,
    }
    configs = transformers.CLIPConfig(vision_config=THEIRS, text_config=text, projection_dim=6)
    theirs = transformers.CLIPModel(configs)
    theirs.save_pretrained(tmp_path)
    model = vit(ViTConfig(**{**OURS, **CLIP}), num_classes=6)
    load(model, tmp_path)
    np.testing.assert_array_equal(weights_of(model)["head/kernel"], theirs.visual_projection.weight.detach().numpy().T)
    assert not weights_of(model)["head/bias"].any()


def test_dinov3_without_biases_is_read_where_they_are_zero(tmp_path):
    from vit_keras.errors import WeightMismatchError

    theirs = make("DINOv3ViTModel", "DINOv3ViTConfig", {"num_register_tokens": 4})
    config = ViTConfig(**{**OURS, **DINOV3, "qkv_bias": "none"})
    theirs.save_pretrained(tmp_path / "with")
    with pytest.raises(WeightMismatchError, match="not zero"):
        load(vit(config), tmp_path / "with")
    for name, weight in theirs.named_parameters():
        if name.endswith(("q_proj.bias", "v_proj.bias")):
            torch.nn.init.zeros_(weight)
    theirs.save_pretrained(tmp_path / "without")
    assert "left out: biases that are all zero" in load(vit(config), tmp_path / "without").notes


def test_a_head_on_other_features_is_refused_or_new(tmp_path):
    make("Dinov2ForImageClassification", "Dinov2Config", {"mlp_ratio": 2}).save_pretrained(tmp_path)
    for head in ("fit", "load"):
        with pytest.raises(ValueError, match="build the model with pooling='token_and_mean'"):
            load(vit(ViTConfig(**OURS, **SCALED), num_classes=5), tmp_path, adapt=AdaptOptions(head=head))
    for model, adapt in (
        (vit(ViTConfig(**OURS, **SCALED), num_classes=3), AdaptOptions()),
        (vit(ViTConfig(**OURS, **SCALED), num_classes=5), AdaptOptions(head="new")),
    ):
        assert "the file's model has pooling='token_and_mean'" in " ".join(load(model, tmp_path, adapt=adapt).notes)
        assert not weights_of(model)["head/kernel"].any()
