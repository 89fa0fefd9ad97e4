"""Loss, predictions, mask and the gradients of a step are those of transformers' `ViTMAEForPreTraining`."""

import json

import keras
import numpy as np
import pytest
from backends import some_elsewhere
from contracts import JIT
from faults.directories import IMAGENET, images, write_transformers
from keras import ops
from pretraining.mae.test_model import reconstruct
from training.weights import assert_equal, changed, values

import vit_keras as vk
from vit_keras.errors import CorruptFileError, InvalidArgumentError, StorageError, WeightMismatchError
from vit_keras.pretraining import MaskedAutoencoder, load_masked_autoencoder, save_masked_autoencoder
from vit_keras.weights import open_tensors, write_tensors

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

DECODER = {
    "decoder_hidden_size": 16, "decoder_num_hidden_layers": 2, "decoder_num_attention_heads": 2, "decoder_intermediate_size": 64,
    "norm_pix_loss": True,
}  # fmt: skip
NOISE = np.random.default_rng(2).random((3, 16)).astype("float32")


def to_torch(pixels):
    mean, std = IMAGENET
    return torch.from_numpy(((pixels / 255 - mean) / std).astype("float32").transpose(0, 3, 1, 2))


def write(folder, **changes):
    theirs = write_transformers(folder, "ViTMAEForPreTraining", "ViTMAEConfig", **{**DECODER, **changes})
    return theirs.train()


def tensors_of(folder):
    with open_tensors(folder) as file:
        return {name: np.array(file.read(name)) for name in file.tensors}


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mae")
    write(folder)
    return folder


@pytest.mark.parametrize(
    "changes", some_elsewhere([{}, {"norm_pix_loss": False, "qkv_bias": False, "mask_ratio": 0.6}], every=2)
)
def test_a_step_is_that_of_transformers(tmp_path, changes):
    theirs = write(tmp_path / "before", **changes)
    for parameter in theirs.parameters():
        parameter.requires_grad_(True)
    ours = load_masked_autoencoder(tmp_path / "before")
    outputs = theirs(pixel_values=to_torch(images()), noise=torch.from_numpy(NOISE))
    found = reconstruct(ours, images(), NOISE)
    np.testing.assert_allclose(found["loss"].mean(), outputs.loss.item(), rtol=1e-5)
    np.testing.assert_allclose(found["predictions"], outputs.logits.detach().numpy(), rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(found["mask"], outputs.mask.numpy())

    outputs.loss.backward()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter -= parameter.grad
    theirs.save_pretrained(tmp_path / "after")
    expected = load_masked_autoencoder(tmp_path / "after")
    ours.call = lambda images, training=None: MaskedAutoencoder.call(ours, images, training, noise=NOISE)
    before = values(ours)
    ours.compile(keras.optimizers.SGD(1.0), jit_compile=JIT)
    ours.train_on_batch(images())
    after, wanted = values(ours), values(expected)
    assert changed(before, after) >= {weight.path for weight in ours.encoder.weights}
    for name, array in after.items():
        if "seed" not in name and name.removeprefix("decoder/") != "position_embedding":
            np.testing.assert_allclose(
                array - before[name], wanted[name] - before[name], rtol=1e-3, atol=1e-5, err_msg=name
            )


@pytest.mark.any_backend
def test_what_is_written_is_what_transformers_reads(tmp_path, directory):
    model = load_masked_autoencoder(directory)
    path = save_masked_autoencoder(model, tmp_path / "ours")
    theirs, report = transformers.ViTMAEForPreTraining.from_pretrained(path, output_loading_info=True)
    assert not any(report.values())
    assert isinstance(transformers.AutoModelForPreTraining.from_pretrained(path), transformers.ViTMAEForPreTraining)
    outputs = theirs(pixel_values=to_torch(images()), noise=torch.from_numpy(NOISE))
    found = model.reconstruct(images(), noise=NOISE)
    np.testing.assert_allclose(
        ops.convert_to_numpy(found["predictions"]), outputs.logits.detach().numpy(), rtol=1e-5, atol=1e-5
    )
    again = load_masked_autoencoder(path)
    assert again.config == model.config
    assert_equal(values(model).values(), values(again).values())


@pytest.mark.any_backend
def test_names_of_version_4_are_read(tmp_path, directory):
    """Those of the published files: version 5 writes `decoder_encoder.layer` where version 4 wrote `decoder_layers`."""
    tensors = {
        name.replace("decoder_encoder.layer", "decoder_layers"): array for name, array in tensors_of(directory).items()
    }
    assert "decoder.decoder_layers.1.attention.attention.query.weight" in tensors
    write_tensors(tensors, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text((directory / "config.json").read_text())
    assert_equal(*(values(load_masked_autoencoder(each)).values() for each in (directory, tmp_path)))
    encoder = vk.from_preset(tmp_path)
    assert encoder.output_shape == (None, 24)


def encoder_tensors(tensors):
    return {name: array for name, array in tensors.items() if not name.startswith("decoder.")}


@pytest.mark.any_backend
def test_other_directories_are_refused(tmp_path, directory):
    def changed_copy(name, tensors=lambda tensors: tensors, **fields):
        folder = tmp_path / name
        folder.mkdir()
        config = {**json.loads((directory / "config.json").read_text()), **fields}
        (folder / "config.json").write_text(json.dumps(config))
        write_tensors(tensors(tensors_of(directory)), folder / "model.safetensors")
        return folder

    with pytest.raises(StorageError, match=r"there is no directory with a config\.json"):
        load_masked_autoencoder(tmp_path / "nowhere")
    with pytest.raises(InvalidArgumentError, match="model_type is 'vit', and \"vit_mae\" is expected"):
        load_masked_autoencoder(changed_copy("other", model_type="vit"))
    with pytest.raises(InvalidArgumentError, match=r"decoder_intermediate_size is 40, and vit_keras builds .* 64"):
        load_masked_autoencoder(changed_copy("width", decoder_intermediate_size=40))
    with pytest.raises(InvalidArgumentError, match="an encoder without decoder"):
        load_masked_autoencoder(changed_copy("encoder", encoder_tensors))
    with pytest.raises(WeightMismatchError, match=r"decoder_layers.2.*is missing"):
        load_masked_autoencoder(changed_copy("layers", decoder_num_hidden_layers=3))
    with pytest.raises(CorruptFileError, match="NaN or infinity"):
        load_masked_autoencoder(
            changed_copy(
                "nan",
                lambda tensors: {n: a * np.float32("nan") if "decoder_pred" in n else a for n, a in tensors.items()},
            )
        )


@pytest.mark.any_backend
def test_an_encoder_that_transformers_lacks_is_not_written(tmp_path):
    model = MaskedAutoencoder(vk.from_preset("vit_nano_conv8_32"))
    with pytest.raises(InvalidArgumentError, match=r"transformers has no such model.*vit_mae, but stem='conv'"):
        save_masked_autoencoder(model, tmp_path / "mae")
    assert not (tmp_path / "mae").exists()
