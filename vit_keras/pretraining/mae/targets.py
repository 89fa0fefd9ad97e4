"""What a masked autoencoder predicts: the pixels of each patch, by default normalized per patch."""

from keras import ops

from vit_keras.layers.base.checks import Tensor

EPSILON = 1e-6  # added to the variance, as in the authors' code


def patch_statistics(patches: Tensor) -> tuple[Tensor, Tensor]:
    """Returns mean and standard deviation of each patch, `(batch, patches, 1)`; of the unbiased variance, as in the authors' code.

    Shapes:
        patches: `(batch, patches, patch_dim)`, float32.
    """
    mean = ops.mean(patches, axis=-1, keepdims=True)
    variance = ops.sum(ops.square(patches - mean), axis=-1, keepdims=True) / max(patches.shape[-1] - 1, 1)
    return mean, ops.sqrt(variance + EPSILON)


def masked_error(predictions: Tensor, targets: Tensor, mask: Tensor) -> Tensor:
    """Returns the mean squared error per image over its masked patches.

    Paper: He et al. 2022, arXiv 2111.06377, section 3, "Reconstruction target".

    Shapes:
        predictions: `(batch, patches, patch_dim)`, float32; `targets` as well.
        mask: `(batch, patches)`, float32: 1 for masked patches, 0 for visible ones.
        returns: `(batch,)`.
    """
    errors = ops.mean(ops.square(predictions - targets), axis=-1)
    return ops.sum(errors * mask, axis=1) / ops.sum(mask, axis=1)
