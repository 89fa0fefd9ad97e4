"""A small pre-training method for tests of what all methods share: it predicts the mean color of each image, with noise."""

from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

from vit_keras.pretraining.base.objective import PretrainingModel
from vit_keras.pretraining.methods import Method


class MeanColor(PretrainingModel):
    def __init__(self, encoder, *, mask_ratio=0.1, seed=0, name="mean_color"):
        if not 0 < mask_ratio < 1:
            from vit_keras.errors import InvalidArgumentError

            raise InvalidArgumentError(f"mask_ratio={mask_ratio!r} is not between 0 and 1.")
        super().__init__(encoder, tracked=("spread",), name=name)
        self.mask_ratio, self.seed_generator = mask_ratio, keras.random.SeedGenerator(seed)
        self.color = keras.layers.Dense(3, name="color")
        self.color.build(self.encoder.output_shape)

    def call(self, images, training=None):
        target = ops.mean(ops.cast(images, "float32"), (1, 2)) / 255
        if training:
            target += self.mask_ratio * keras.random.normal(ops.shape(target), seed=self.seed_generator)
        error = ops.square(self.color(self.encoder(images, training=training)) - target)
        return {"loss": ops.mean(error, -1), "spread": ops.std(target, 0)}

    def finish(self, images):
        assert sum(len(batch) for batch, *_ in images) > 0

    def describe(self):
        return ["It predicts the mean color of an image."]

    def pictures(self, images):
        return {"image": np.asarray(images), "negative": 255 - np.asarray(images)}


@dataclass(frozen=True)
class MeanColorMethod(Method):
    def load(self):
        return MeanColor
