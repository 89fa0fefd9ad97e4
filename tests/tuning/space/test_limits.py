"""A search without limits proposes what its data can train."""

import numpy as np

from vit_keras.data import ImageData, Split
from vit_keras.tuning.space.hypermodel import ViTHyperModel
from vit_keras.tuning.space.limits import default_limits


def make_data(count: int, side: int = 96) -> ImageData:
    split = Split(np.zeros((count, side, side, 3), "uint8"), np.arange(count, dtype="int32") % 2)
    return ImageData(
        name="photos", class_names=("a", "b"), splits=dict.fromkeys(("train", "validation", "test"), split)
    )


def test_few_images_get_small_models() -> None:
    hypermodel = ViTHyperModel.for_data(make_data(160))
    params = [hypermodel.compute_costs(values)["params"] for values, _ in hypermodel.sample(50, seed=0)]
    assert max(params) <= 1_600_000
    without = ViTHyperModel(96, 2)
    assert max(without.compute_costs(values)["params"] for values, _ in without.sample(50, seed=0)) > 10_000_000


def test_a_given_limit_is_the_only_one() -> None:
    hypermodel = ViTHyperModel.for_data(make_data(160), max_params=9_000_000)
    assert str(hypermodel.default_limits) == ""
    assert hypermodel.limits.params == 9_000_000


def test_chosen_limits_do_not_stop_a_search_from_being_resumed() -> None:
    assert ViTHyperModel.for_data(make_data(160)).fingerprint() == ViTHyperModel(96, 2).fingerprint()


def test_an_accelerator_has_no_limit_of_time() -> None:
    assert default_limits(50_000, has_accelerator=True).macs is None
    assert default_limits(50_000, has_accelerator=False).macs == 8_000_000
