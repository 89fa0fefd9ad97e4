"""RADIO's files give transformers' outputs, for images of the sizes that its positions are cropped to."""

import numpy as np
import pytest
from faults.directories import write_processor, write_transformers
from safetensors.numpy import load_file, save_file

import vit_keras as vk

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")

# Positions of 8 x 8 patches; three tokens of teachers and two registers.
RADIO = {
    "hidden_size": 24, "mlp_ratio": 2.0, "max_img_size": 64, "num_cls_tokens": 3, "num_registers": 2, "without": ("intermediate_size",),
}  # fmt: skip
OURS = {"hidden_dim": 24, "num_layers": 2, "num_heads": 2, "mlp_dim": 48, "patch_size": 8, "num_registers": 4}


def compute(theirs, pixels):
    """Returns the first summary token; transformers' model normalizes pixels of 0..1 itself."""
    fractions = torch.from_numpy((pixels / 255).astype("float32").transpose(0, 3, 1, 2))
    with torch.no_grad():
        return theirs(pixel_values=fractions).last_hidden_state[:, 0].numpy()


def pixels_of(*size):
    return np.random.default_rng(3).integers(0, 256, (2, *size, 3)).astype("uint8")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    folder = tmp_path_factory.mktemp("radio")
    return folder, write_transformers(folder, "RadioModel", "RadioConfig", **RADIO)


@pytest.mark.parametrize("size", [(32, 32), (32, 48), (64, 24), (64, 64)])
def test_a_directory_gives_transformers_outputs(directory, size):
    folder, theirs = directory
    model = vk.from_preset(folder, image_size=size)
    assert vk.model_config(model).num_registers == 4
    pixels = pixels_of(*size)
    np.testing.assert_allclose(model.predict(pixels, verbose=0), compute(theirs, pixels), rtol=1e-4, atol=1e-4)


def test_positions_are_cropped_inside_a_model_of_any_size_too(directory):
    folder, theirs = directory
    model = vk.from_preset(folder, image_size=64, dynamic_image_size=True)
    for size in ((64, 64), (32, 48)):
        pixels = pixels_of(*size)
        np.testing.assert_allclose(model.predict(pixels, verbose=0), compute(theirs, pixels), rtol=1e-4, atol=1e-4)


def test_nvidias_files_and_names_in_memory_are_read(directory, tmp_path):
    folder, theirs = directory
    expected = compute(theirs, pixels_of(32, 32))
    tensors = load_file(folder / "model.safetensors")
    memory = {name: array.numpy() for name, array in theirs.state_dict().items()}
    nvidia = {
        name.replace("layer_scale1.lambda1", "ls1.grandma").replace("layer_scale2.lambda1", "ls2.grandma"): array
        for name, array in tensors.items()
    }
    for number, each in enumerate((memory, nvidia)):
        path = tmp_path / f"{number}.safetensors"
        save_file({name: np.ascontiguousarray(array) for name, array in each.items()}, path)
        model = vk.from_preset(
            "vit_base_patch16_radio_v3", weights=path, image_size=32, position_resize="bilinear_crop", **OURS
        )
        np.testing.assert_allclose(model.predict(pixels_of(32, 32), verbose=0), expected, rtol=1e-4, atol=1e-4)


def test_pixels_are_normalized_by_the_processor_and_by_the_model(directory, tmp_path):
    theirs = write_transformers(tmp_path, "RadioModel", "RadioConfig", **RADIO)
    write_processor(tmp_path, do_normalize=False)
    pixels = pixels_of(32, 32)
    found = vk.from_preset(tmp_path).predict(pixels, verbose=0)
    np.testing.assert_allclose(found, compute(theirs, pixels), rtol=1e-4, atol=1e-4)
    write_processor(tmp_path, image_mean=[0.1] * 3, image_std=[0.5] * 3)
    normalized = vk.from_preset(tmp_path).predict(pixels, verbose=0)
    expected = compute(theirs, (pixels / 255 - 0.1) / 0.5 * 255)
    np.testing.assert_allclose(normalized, expected, rtol=1e-4, atol=1e-4)
