import keras
import numpy as np
import pytest
import torch
from backends import forward
from contracts import JIT
from keras import ops

import vit_keras as vk
from vit_keras.errors import InvalidArgumentError
from vit_keras.models.vit import vit
from vit_keras.pretraining.distillation import FeatureDistillation
from vit_keras.zoo.save_preset import save_preset


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3)).astype("uint8")


def smooth_l1(predicted, target):
    """PyTorch's, of targets standardized by its layer norm."""
    target = torch.nn.functional.layer_norm(torch.tensor(target), target.shape[-1:], eps=1e-6)
    return torch.nn.functional.smooth_l1_loss(torch.tensor(predicted), target, beta=2.0, reduction="none").numpy()


def to_numpy(tensor):
    return ops.convert_to_numpy(tensor)


def test_the_loss_is_pytorchs_with_patches_resized_to_the_students_grid(tiny_config, images):
    teacher = vit(
        tiny_config.replace(image_size=32, hidden_dim=24, num_layers=1)
    )  # 4 x 4 patches, the student has 2 x 2
    model = FeatureDistillation(vit(tiny_config), teacher=teacher, patch_weight=0.5)
    found = {name: to_numpy(value) for name, value in forward(model, images).items()}
    pixels = torch.tensor(images.astype("float32")).permute(0, 3, 1, 2)
    larger = torch.nn.functional.interpolate(pixels, (32, 32), mode="bilinear").permute(0, 2, 3, 1).numpy()
    inner = keras.Model(teacher.input, [teacher.get_layer("pooling").output, teacher.get_layer("final_norm").output])
    pooled, tokens = (to_numpy(each) for each in forward(inner, larger))
    predicted, patches = (to_numpy(each) for each in model.features(images))
    expected = smooth_l1(to_numpy(model.pooled_projection(predicted)), pooled).mean(axis=-1)
    np.testing.assert_allclose(found["pooled_distance"], expected, atol=2e-3)
    grid = torch.tensor(tokens[:, -16:].reshape(8, 4, 4, 24)).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(grid, (2, 2), mode="bilinear", antialias=True).permute(0, 2, 3, 1).numpy()
    expected_patches = smooth_l1(to_numpy(model.patch_projection(patches)), grid).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(found["patch_distance"], expected_patches, atol=2e-3)
    np.testing.assert_allclose(found["loss"], found["pooled_distance"] + 0.5 * found["patch_distance"], rtol=1e-5)


def test_fit_teaches_the_student_and_leaves_the_teacher_alone(tiny_config, images):
    teacher, student = vit(tiny_config.replace(dropout_rate=0.3)), vit(tiny_config.replace(num_layers=1))
    before = [to_numpy(weight).copy() for weight in teacher.weights]
    model = FeatureDistillation(student, teacher=teacher)
    owned = {id(weight) for weight in [*model.weights, *model.non_trainable_variables]}
    assert not owned & {id(weight) for weight in teacher.weights}  # so that no checkpoint holds it
    model.compile(keras.optimizers.AdamW(1e-2), jit_compile=JIT)
    history = model.fit(images, validation_data=(images,), batch_size=4, epochs=15, verbose=0).history
    assert set(history) >= {"loss", "pooled_distance", "patch_distance", "val_loss"}
    assert history["val_loss"][-1] < 0.8 * history["val_loss"][0]
    for old, weight in zip(before, teacher.weights, strict=True):
        np.testing.assert_array_equal(old, to_numpy(weight))
    assert teacher.trainable
    again = [to_numpy(model(ops.convert_to_tensor(images), training=True)["loss"]) for _ in range(2)]
    np.testing.assert_array_equal(*again)  # the teacher's dropout is off


@pytest.mark.any_backend
def test_a_teacher_of_pooled_features_alone_teaches_these(tiny_config, images):
    other = keras.Sequential(
        [keras.Input((12, 12, 3)), keras.layers.Rescaling(1 / 255), keras.layers.Flatten(), keras.layers.Dense(5)]
    )
    model = FeatureDistillation(vit(tiny_config), teacher=other)
    assert set(model(ops.convert_to_tensor(images))) == {"loss", "pooled_distance"}
    assert "pooled features of the teacher" in model.describe()[0]


@pytest.mark.any_backend
def test_wrong_pairs_are_refused(tiny_config):
    model = vit(tiny_config)
    with pytest.raises(InvalidArgumentError, match="same model"):
        FeatureDistillation(model, teacher=model)
    with pytest.raises(InvalidArgumentError, match="patch_weight"):
        FeatureDistillation(model, teacher=vit(tiny_config), patch_weight=-1)
    with pytest.raises(InvalidArgumentError, match="images of any size"):
        FeatureDistillation(vit(tiny_config.replace(dynamic_image_size=True)), teacher=model)


@pytest.mark.slow
@pytest.mark.any_backend
@pytest.mark.parametrize(
    ("method", "options"), [("distill", {"teacher": True}), ("lejepa", {"projector_dims": (16, 8), "num_local": 1})]
)
def test_a_run_of_the_method_saves_the_encoder_alone(tiny_config, images, tmp_path, method, options):
    encoder = vit(tiny_config)
    before = encoder.get_weights()
    teacher = vit(tiny_config.replace(image_size=24, hidden_dim=32))
    if options.pop("teacher", False):
        options["teacher"] = save_preset(teacher, tmp_path / "teacher")
    run = vk.pretrain(encoder, images, method=method, epochs=2, run_dir=tmp_path / "run", **options)
    saved = vk.load_model(tmp_path / "run")
    assert [weight.path for weight in saved.weights] == [weight.path for weight in encoder.weights]
    moved = [np.abs(new - old).max() for new, old in zip(saved.get_weights(), before, strict=True)]
    assert max(moved) > 0
    assert len(run.history) == 2
    assert {"loss", "val_loss", "feature_rank", "feature_uniformity"} <= set(run.history[-1])
    checkpoints = sum(path.stat().st_size for path in (tmp_path / "run").rglob("*.safetensors"))
    assert checkpoints < 2 * sum(weight.nbytes for weight in before) + 10_000
