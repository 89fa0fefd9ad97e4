"""LoRA adapters of PEFT, read and written: peft's outputs on models of transformers are the expected values."""

import json

import keras
import numpy as np
import pytest
from faults.directories import images, outputs_of, write_processor, write_transformers
from safetensors.numpy import load_file, save_file
from training.weights import randomize

from vit_keras import ViTConfig, from_preset, vit
from vit_keras.errors import (
    CorruptFileError,
    InvalidArgumentError,
    StorageError,
    UnsafeFileError,
    WeightMismatchError,
)
from vit_keras.training.transfer.lora import add_lora, load_lora, merge_lora, read_lora_config, save_lora
from vit_keras.weights import write

peft = pytest.importorskip("peft")
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = [pytest.mark.any_backend, pytest.mark.filterwarnings("ignore")]  # warnings of peft and transformers

PIXELS = images()
HALF = ((0.5,) * 3, (0.5,) * 3)
VIT = ("ViTForImageClassification", "ViTConfig", {"num_labels": 3})
MODELS = {
    "vit": (*VIT, HALF),
    "deit": ("DeiTForImageClassification", "DeiTConfig", {"num_labels": 3}, None),
    "dinov2": ("Dinov2ForImageClassification", "Dinov2Config", {"num_labels": 3, "mlp_ratio": 2}, None),
    "gated": ("Dinov2Model", "Dinov2Config", {"use_swiglu_ffn": True, "mlp_ratio": 2}, None),
    "dinov3": ("DINOv3ViTModel", "DINOv3ViTConfig", {}, None),
    "clip": ("CLIPVisionModel", "CLIPVisionConfig", {}, None),
    "siglip": ("SiglipVisionModel", "SiglipVisionConfig", {}, HALF),
}
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
LINEAR = {
    "vit": ["q_proj", "k_proj", "v_proj", "o_proj", "fc1", "fc2"],
    "gated": ["q_proj", "v_proj", "gate_proj", "up_proj", "down_proj"],
    "dinov3": ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"],
    "clip": ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"],
    # PEFT writes an adapter of the pooling's out_proj, but torch does not call that module.
    "siglip": r".*encoder.*(q_proj|k_proj|v_proj|out_proj|fc1)",
}


def base_model(folder, kind="vit"):
    """Returns a model of transformers, in a new directory, and its mean and standard deviation of pixels."""
    name, config, sizes, pixels = MODELS[kind]
    mean, std = pixels or IMAGENET
    theirs = write_transformers(folder, name, config, **sizes)
    write_processor(folder, image_mean=list(mean), image_std=list(std))
    return theirs, mean, std


def with_adapter(theirs, folder, *, seed=0, **config):
    """Returns the model with a random adapter, which is written to a directory."""
    adapted = peft.get_peft_model(theirs, peft.LoraConfig(**{"r": 4, "lora_alpha": 6, **config})).eval()
    torch.manual_seed(seed)
    for weight in adapted.parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight, std=0.2)
    adapted.save_pretrained(folder)
    return adapted


def numbers(theirs, mean, std):
    """Returns the outputs of a model of transformers that are ours."""
    found = outputs_of(theirs, PIXELS, mean, std)
    return (found.logits if "logits" in found else found.pooler_output).numpy()


def ours(model):
    return keras.ops.convert_to_numpy(model(PIXELS))


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """The directories of a base model and of an adapter for it, and the outputs of both together."""
    folder = tmp_path_factory.mktemp("peft")
    theirs, mean, std = base_model(folder / "base")
    adapted = with_adapter(
        theirs, folder / "adapter", target_modules=["q_proj", "v_proj"], modules_to_save=["classifier"]
    )
    return folder / "base", folder / "adapter", numbers(adapted, mean, std)


@pytest.mark.parametrize("kind", MODELS)
def test_an_adapter_of_peft_gives_its_outputs_and_is_written_back(tmp_path, kind):
    theirs, mean, std = base_model(tmp_path / "base", kind)
    plain = numbers(theirs, mean, std)
    modules = LINEAR.get(kind, LINEAR["vit"])
    heads = ["classifier"] if "num_labels" in MODELS[kind][2] else None
    expected = numbers(
        with_adapter(theirs, tmp_path / "adapter", target_modules=modules, modules_to_save=heads), mean, std
    )
    assert np.abs(expected - plain).max() > 0.1
    model = load_lora(from_preset(tmp_path / "base"), tmp_path / "adapter")
    assert_close(ours(model), expected)
    assert_close(ours(merge_lora(model)), expected)
    save_lora(model, tmp_path / "back", to="huggingface")
    again = peft.PeftModel.from_pretrained(base_model(tmp_path / "new", kind)[0], tmp_path / "back").eval()
    assert_close(numbers(again, mean, std), expected)
    assert_same_files(tmp_path / "back", tmp_path / "adapter")


def assert_same_files(one, other):
    """Asserts that both hold the same numbers; PEFT writes those of a whole state dict with more names."""
    found, expected = (load_file(folder / "adapter_model.safetensors") for folder in (one, other))
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


CONFIGS = {
    "all linear layers": {"target_modules": "all-linear"},
    "rank-stabilized": {"target_modules": ["q_proj", "fc1"], "use_rslora": True},
    "patterns": {
        "target_modules": ["q_proj", "k_proj", "fc2"], "rank_pattern": {"k_proj": 2, "layers.1.mlp.fc2": 3},
        "alpha_pattern": {"q_proj": 16},
    },
    "one block": {"target_modules": ["v_proj"], "layers_to_transform": [1], "layers_pattern": "layers"},
    "biases of the adapted layers": {"target_modules": ["q_proj", "v_proj", "fc1"], "bias": "lora_only"},
    "all biases": {"target_modules": ["q_proj"], "bias": "all"},
    "a norm": {"target_modules": ["q_proj"], "modules_to_save": ["classifier", "vit.layernorm"]},
    "the patch projection": {"target_modules": ["q_proj", "projection"]},
    "dropout": {"target_modules": ["q_proj"], "lora_dropout": 0.5},
}  # fmt: skip


@pytest.mark.parametrize("kind", CONFIGS)
def test_what_peft_can_adapt_is_read_and_written(tmp_path, kind):
    theirs, mean, std = base_model(tmp_path / "base")
    expected = numbers(with_adapter(theirs, tmp_path / "adapter", **CONFIGS[kind]), mean, std)
    model = load_lora(from_preset(tmp_path / "base"), tmp_path / "adapter")
    assert_close(ours(model), expected)
    save_lora(model, tmp_path / "back", to="huggingface")
    again = peft.PeftModel.from_pretrained(base_model(tmp_path / "new")[0], tmp_path / "back").eval()
    assert_close(numbers(again, mean, std), expected)
    described = json.loads((tmp_path / "back" / "adapter_config.json").read_text())
    assert described["use_rslora"] is (kind == "rank-stabilized")
    assert described["bias"] == CONFIGS[kind].get("bias", "none")


def old_names(name):
    """Returns a name as transformers 4 has it."""
    return (
        name.replace("vit.layers.", "vit.encoder.layer.")
        .replace("attention.q_proj", "attention.attention.query")
        .replace("attention.v_proj", "attention.attention.value")
    )


def rewrite(adapter, folder, *, rename=str, config=None, tensors=None):
    """Writes an adapter again with other names, another config or more tensors."""
    folder.mkdir()
    old = load_file(adapter / "adapter_model.safetensors")
    save_file(
        {rename(name): array for name, array in {**old, **(tensors or {})}.items()},
        folder / "adapter_model.safetensors",
    )
    described = json.loads((adapter / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**described, **(config or {})}))
    return folder


def test_an_adapter_of_transformers_4_is_read_and_written_for_both_versions(classifier, tmp_path):
    base, adapter, expected = classifier
    old = rewrite(adapter, tmp_path / "old", rename=old_names, config={"target_modules": ["query", "value"]})
    model = load_lora(from_preset(base), old)
    assert_close(ours(model), expected)
    for to, folder in (("huggingface_4", old), ("huggingface", adapter)):
        assert_same_files(save_lora(model, tmp_path / to, to=to), folder)


def test_the_matrices_are_ours_and_train(classifier):
    base, adapter, _ = classifier
    model = load_lora(from_preset(base), adapter)
    assert read_lora_config(model) == {"targets": ["query", "value"], "rank": 4, "alpha": 6}
    trained = {weight.path.removeprefix("block_00/") for weight in model.trainable_weights}
    own = {f"attention/{target}/adapter_{way}" for target in ("query", "value") for way in ("down", "up")}
    assert {path for path in trained if not path.startswith("block_01")} == own | {"head/kernel", "head/bias"}
    before = keras.ops.convert_to_numpy(model.get_layer("block_00").attention.qkv.adapter_up).copy()
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    model.fit(PIXELS, np.arange(3), verbose=0)
    assert np.any(before != keras.ops.convert_to_numpy(model.get_layer("block_00").attention.qkv.adapter_up))


def test_files_of_vit_keras_and_keras_keep_it(classifier, tmp_path):
    base, adapter, expected = classifier
    plain = from_preset(base)
    model = load_lora(plain, adapter)
    file = save_lora(model, tmp_path / "lora.safetensors")
    assert_close(ours(load_lora(plain, file)), expected)
    model.save(tmp_path / "model.keras")
    assert_close(ours(keras.saving.load_model(tmp_path / "model.keras", compile=False)), expected)


def test_blocks_with_other_ranks_are_kept_in_a_file(tmp_path):
    base_model(tmp_path / "base")
    theirs, mean, std = base_model(tmp_path / "again")
    expected = numbers(with_adapter(theirs, tmp_path / "adapter", **CONFIGS["patterns"]), mean, std)
    plain = from_preset(tmp_path / "base")
    model = load_lora(plain, tmp_path / "adapter")
    ranks = {name: adapters["rank"] for name, adapters in read_lora_config(model)["blocks"].items()}
    assert ranks == {
        "block_00": {"query": 4, "key": 2, "contract": 4},
        "block_01": {"query": 4, "key": 2, "contract": 3},
    }
    assert_close(ours(load_lora(plain, save_lora(model, tmp_path / "lora.safetensors"))), expected)


def test_a_file_alone_needs_its_alpha(classifier, tmp_path):
    base, adapter, expected = classifier
    plain, file = from_preset(base), tmp_path / "file.safetensors"
    file.write_bytes((adapter / "adapter_model.safetensors").read_bytes())
    with pytest.raises(InvalidArgumentError, match="give alpha=, the lora_alpha"):
        load_lora(plain, file)
    assert_close(ours(load_lora(plain, file, alpha=6)), expected)
    assert np.abs(ours(load_lora(plain, file, alpha=6, scaling="sqrt_rank")) - expected).max() > 1e-2
    assert_close(ours(load_lora(plain, adapter / "adapter_model.safetensors")), expected)  # with the config beside it
    with pytest.raises(InvalidArgumentError, match="leave out alpha= and scaling="):
        load_lora(plain, adapter, alpha=6)


def test_a_state_dict_that_is_not_merged_has_the_base_models_weights_too(tmp_path):
    theirs, mean, std = base_model(tmp_path / "base")
    adapted = with_adapter(
        theirs, tmp_path / "adapter", target_modules=["q_proj", "fc1"], modules_to_save=["classifier"]
    )
    state = {name: np.array(weight.numpy()) for name, weight in adapted.state_dict().items()}
    assert any(".base_layer." in name for name in state)
    file = tmp_path / "state.safetensors"
    save_file(state, file)
    other = randomize(from_preset(tmp_path / "base", weights=None), seed=5)
    for classes in (3, 8):  # a head for other classes is replaced
        model = vit_like(other, classes)
        assert_close(ours(load_lora(model, file, alpha=6)), numbers(adapted, mean, std))


def vit_like(model, num_classes):
    from vit_keras import model_config

    return randomize(vit(model_config(model), num_classes=num_classes), seed=6)


def test_one_of_several_adapters_is_chosen(tmp_path):
    theirs, mean, std = base_model(tmp_path / "base")
    adapted = with_adapter(theirs, tmp_path / "one", target_modules=["q_proj"])
    adapted.add_adapter("second", peft.LoraConfig(r=2, lora_alpha=8, target_modules=["v_proj"]))
    adapted.set_adapter("second")
    for weight in adapted.parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight, std=0.2)
    file = tmp_path / "state.safetensors"
    save_file({name: np.array(weight.numpy()) for name, weight in adapted.state_dict().items()}, file)
    plain = from_preset(tmp_path / "base")
    with pytest.raises(InvalidArgumentError, match=r"choose one with adapter=, of default, second"):
        load_lora(plain, file, alpha=8)
    with pytest.raises(InvalidArgumentError, match="no adapter 'third'"):
        load_lora(plain, file, alpha=8, adapter="third")
    assert_close(ours(load_lora(plain, file, alpha=8, adapter="second")), numbers(adapted, mean, std))


@pytest.mark.parametrize("targets", [["qkv", "output"], ["qkv", "expand", "contract"], ["key", "value", "expand"]])
def test_what_was_trained_here_gives_the_same_in_peft(tmp_path, targets):
    config = ViTConfig(
        image_size=32, patch_size=8, hidden_dim=24, num_layers=2, num_heads=2, mlp_dim=48, norm_epsilon=1e-6
    )
    plain = randomize(vit(config, num_classes=3))
    arrays = {weight.path: keras.ops.convert_to_numpy(weight) for weight in plain.weights}
    write(arrays, config, tmp_path / "base", to="huggingface")
    model = randomize_lora(add_lora(plain, rank=3, alpha=5, targets=targets, scaling="sqrt_rank"))
    save_lora(model, tmp_path / "adapter", to="huggingface", base_model=str(tmp_path / "base"))
    theirs = peft.AutoPeftModel.from_pretrained(tmp_path / "adapter").eval()
    assert_close(numbers(theirs, *HALF), ours(model))
    assert_close(ours(load_lora(plain, tmp_path / "adapter")), ours(model))


def randomize_lora(model):
    rng = np.random.default_rng(4)
    for weight in model.trainable_weights:
        weight.assign(rng.normal(size=weight.shape, scale=0.2))
    return model


@pytest.mark.parametrize(
    "changes", [{}, {"parallel_block": True}, {"gated_mlp": True, "activation": "silu", "layer_scale": 0.1}], ids=str
)
def test_it_is_written_for_timm(tmp_path, changes):
    timm = pytest.importorskip("timm")
    config = ViTConfig(
        image_size=32, patch_size=8, hidden_dim=24, num_layers=2, num_heads=2, mlp_dim=48, norm_epsilon=1e-6, **changes
    )
    plain = randomize(vit(config, num_classes=3))
    arrays = {weight.path: keras.ops.convert_to_numpy(weight) for weight in plain.weights}
    write(arrays, config, tmp_path / "base", to="timm")
    for targets in (["qkv", "expand"], ["query", "value"]):
        model = randomize_lora(add_lora(plain, rank=3, alpha=5, targets=targets))
        folder = save_lora(model, tmp_path / "_".join(targets), to="timm")
        theirs = timm.create_model(f"local-dir:{tmp_path / 'base'}", pretrained=True)
        theirs = peft.PeftModel.from_pretrained(theirs, folder).eval()
        fractions = ((PIXELS / 255 - 0.5) / 0.5).astype("float32").transpose(0, 3, 1, 2)
        with torch.no_grad():
            assert_close(theirs(torch.from_numpy(fractions)).numpy(), ours(model))
        assert_close(ours(load_lora(plain, folder)), ours(model))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"use_dora": True}, r"use_dora=True \(DoRA\)"),
        ({"peft_type": "LOHA"}, "peft_type='LOHA' is not LORA"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights='pissa' changes the base model's weights"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"target_parameters": ["cls_token"]}, "target_parameters"),
        ({"alora_invocation_tokens": [1]}, "activated LoRA"),
        ({"some_new_variant": True}, "some_new_variant=True"),
        ({"rank_pattern": {"(a+)+b": 2}}, "repeats a group"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_cannot_be_represented_is_refused_by_name(classifier, tmp_path, config, message):
    base, adapter, _ = classifier
    with pytest.raises(InvalidArgumentError, match=message):
        load_lora(from_preset(base), rewrite(adapter, tmp_path / "adapter", config=config))


A, B = (
    "base_model.model.vit.layers.0.attention.k_proj.lora_A.weight",
    "base_model.model.vit.layers.0.attention.k_proj.lora_B.weight",
)
ZEROS = np.zeros((4, 24), "float32")


@pytest.mark.parametrize(
    ("tensors", "error", "message"),
    [
        ({A: ZEROS}, CorruptFileError, "1 modules have only one of lora_A and lora_B"),
        ({A: ZEROS, B: ZEROS}, CorruptFileError, r"expected \(rank, inputs\)"),
        ({A: ZEROS[:3], B: ZEROS[:3].T}, CorruptFileError, "has rank 3, and .* says 4"),
        ({A: ZEROS + np.nan, B: ZEROS.T}, CorruptFileError, "holds NaN or infinity"),
        ({A: ZEROS[:, :8], B: ZEROS.T}, WeightMismatchError, "k_proj has 8 inputs and 24 outputs, and the model 24 inputs"),
        ({A.replace("0", "7"): ZEROS, B.replace("0", "7"): ZEROS.T}, WeightMismatchError, "no place in the model"),
        ({B.replace("weight", "bias"): ZEROS[0]}, InvalidArgumentError, "lora_bias"),
        ({A.replace("lora_A", "lora_magnitude_vector"): ZEROS[0]}, InvalidArgumentError, "DoRA"),
    ],
    ids=lambda value: "",
)  # fmt: skip
def test_tensors_that_do_not_fit_are_refused(classifier, tmp_path, tensors, error, message):
    base, adapter, _ = classifier
    with pytest.raises(error, match=message):
        load_lora(from_preset(base), rewrite(adapter, tmp_path / "adapter", tensors=tensors))


def test_other_directories_are_refused(classifier, tmp_path):
    base, adapter, expected = classifier
    plain = from_preset(base)
    with pytest.raises(StorageError, match=r"It holds adapters in the folders adapter"):
        load_lora(plain, adapter.parent)
    with pytest.raises(InvalidArgumentError, match="this is a LoRA adapter of PEFT, not a whole model"):
        from_preset(adapter)
    pickled, tensors = rewrite(adapter, tmp_path / "pickled"), load_file(adapter / "adapter_model.safetensors")
    (pickled / "adapter_model.safetensors").unlink()
    torch.save({name: torch.tensor(array) for name, array in tensors.items()}, pickled / "adapter_model.bin")
    assert_close(ours(load_lora(plain, pickled)), expected)  # read without unpickling
    (pickled / "adapter_model.bin").write_bytes(b"\x80\x02}q\x00.")
    with pytest.raises(UnsafeFileError, match="Unpickling can run code"):
        load_lora(plain, pickled)
    with pytest.raises(WeightMismatchError, match="neither of save_lora nor has it matrices"):
        load_lora(plain, base / "model.safetensors")
    with pytest.raises(StorageError, match="nothing is overwritten"):
        save_lora(load_lora(plain, adapter), adapter, to="huggingface")


def test_what_peft_cannot_hold_is_not_written(classifier, tmp_path):
    base, adapter, _ = classifier
    model = load_lora(from_preset(base), adapter)
    for arguments, message in (
        ({"to": "peft"}, "to='peft' is none of"),
        ({"base_model": "x"}, "base_model= is for PEFT"),
    ):
        with pytest.raises(InvalidArgumentError, match=message):
            save_lora(model, tmp_path / "out", **arguments)
    model.get_layer("patch_encoder").trainable = True
    with pytest.raises(InvalidArgumentError, match=r"patch_encoder/class_token.* merge_lora, then weights.write"):
        save_lora(model, tmp_path / "out", to="huggingface")
    assert list(tmp_path.iterdir()) == []
