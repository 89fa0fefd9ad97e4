import keras
import numpy as np
import pytest
from contracts import JIT
from keras import ops

from vit_keras.errors import InvalidArgumentError
from vit_keras.models.vit import vit
from vit_keras.pretraining import lejepa as lejepa_module
from vit_keras.pretraining.lejepa import LeJEPA


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (16, 16, 16, 3)).astype("uint8")


@pytest.mark.any_backend
def test_the_loss_is_the_papers(tiny_config, images, monkeypatch):
    model = LeJEPA(vit(tiny_config.replace(num_layers=1)), num_local=3, weight=0.3, projector_dims=(8, 4))
    views = []
    draw = lejepa_module.draw_views
    monkeypatch.setattr(lejepa_module, "draw_views", lambda *args, **kw: views.append(draw(*args, **kw)) or views[-1])
    drawn = ops.convert_to_numpy
    directions = drawn(keras.random.normal((4, 256), seed=0))
    found = {name: drawn(value) for name, value in model(ops.convert_to_tensor(images)).items()}
    embeddings = np.stack([drawn(model.projector(model.encoder(view))) for view in views])
    assert embeddings.shape == (5, 16, 4)
    center = embeddings[:2].mean(axis=0)
    invariance = ((embeddings - center) ** 2).mean(axis=(0, 2))
    np.testing.assert_allclose(found["invariance"], invariance, rtol=1e-3, atol=1e-6)
    times = np.linspace(-3, 3, 33)
    target = np.exp(-(times**2) / 2)
    values = []
    for sample in embeddings:
        projected = sample @ (directions / np.linalg.norm(directions, axis=0))
        empirical = np.exp(1j * projected[..., None] * times).mean(axis=0)
        values.append(16 * np.trapezoid(np.abs(empirical - target) ** 2 * target, times, axis=-1).mean())
    assert found["sigreg"] == pytest.approx(np.mean(values), rel=1e-3)
    np.testing.assert_allclose(found["loss"], 0.7 * invariance + 0.3 * found["sigreg"], rtol=1e-3)


def test_fit_lowers_both_parts_and_trains_the_encoder(tiny_config, images):
    encoder = vit(tiny_config.replace(num_layers=1))
    model = LeJEPA(encoder, num_local=1, projector_dims=(16, 8))
    before = [ops.convert_to_numpy(weight).copy() for weight in encoder.trainable_variables]
    model.compile(keras.optimizers.AdamW(1e-2), jit_compile=JIT)
    history = model.fit(images, validation_data=(images,), batch_size=8, epochs=12, verbose=0).history
    assert set(history) == {"loss", "invariance", "sigreg", "val_loss", "val_invariance", "val_sigreg"}
    assert np.mean(history["loss"][-3:]) < np.mean(history["loss"][:3])
    again = [model.evaluate(images, batch_size=8, verbose=0, return_dict=True)["loss"] for _ in range(2)]
    assert again[0] == pytest.approx(again[1], rel=1e-6)  # the same views and directions
    moved = [
        np.abs(ops.convert_to_numpy(now) - old).max()
        for now, old in zip(encoder.trainable_variables, before, strict=True)
    ]
    assert min(moved) > 0


@pytest.mark.any_backend
def test_it_shows_its_views_and_describes_itself(tiny_config, images):
    model = LeJEPA(vit(tiny_config), projector_dims=(8,))
    shown = model.pictures(images[:3])
    assert list(shown) == ["image", "global view 1", "global view 2", "local view 1", "local view 2"]
    assert all(each.shape == (3, 16, 16, 3) and each.dtype == np.uint8 for each in shown.values())
    assert "2 views of 30% to 100%" in model.describe()[0]


@pytest.mark.any_backend
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_global": 1, "num_local": 0}, "at least two views"),
        ({"weight": 1.5}, "weight"),
        ({"projector_dims": (8, 0)}, "positive integers"),
        ({"local_scale": (0.0, 0.3)}, "scale"),
    ],
)
def test_wrong_options_are_refused(tiny_config, options, message):
    with pytest.raises(InvalidArgumentError, match=message):
        LeJEPA(vit(tiny_config), **options)


@pytest.mark.any_backend
def test_an_encoder_for_any_size_is_refused(tiny_config):
    with pytest.raises(InvalidArgumentError, match="dynamic_image_size"):
        LeJEPA(vit(tiny_config.replace(dynamic_image_size=True)))
