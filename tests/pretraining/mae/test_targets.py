import numpy as np
from keras import ops

from vit_keras.pretraining.mae.targets import masked_error, patch_statistics


def test_statistics_are_those_of_the_unbiased_variance_and_finite_for_equal_pixels(rng):
    patches = rng.normal(size=(2, 5, 12), loc=0.4, scale=0.02).astype("float32")
    patches[1, 4] = 0.4
    mean, deviation = (ops.convert_to_numpy(each) for each in patch_statistics(ops.convert_to_tensor(patches)))
    np.testing.assert_allclose(mean[..., 0], patches.mean(-1), rtol=1e-6)
    np.testing.assert_allclose(deviation[..., 0], np.sqrt(patches.var(-1, ddof=1) + 1e-6), rtol=1e-4)


def test_a_prediction_of_zero_has_the_closed_form_loss_and_visible_patches_do_not_count(rng):
    patches = rng.normal(size=(2, 4, 48)).astype("float32") * 100
    patches = ops.convert_to_tensor(patches)
    mean, deviation = patch_statistics(patches)
    targets = (patches - mean) / deviation
    mask = ops.convert_to_tensor([[1.0, 0, 1, 1], [0, 1, 0, 0]])
    predictions = np.zeros((2, 4, 48), "float32")
    predictions[0, 1] = 7  # a visible patch
    errors = masked_error(ops.convert_to_tensor(predictions), targets, mask)
    np.testing.assert_allclose(ops.convert_to_numpy(errors), [47 / 48, 47 / 48], rtol=1e-5)
