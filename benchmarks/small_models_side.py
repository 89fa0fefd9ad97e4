"""One side of `small_models.py`: a small model of one library, which takes a training step for each input line and prints its time.

    PYTHON small_models_side.py LIBRARY SETTING PRESET DTYPE BATCH_SIZE

It runs in any Python with the library, with or without this package. AdamW, `train_on_batch` on pixels in memory.
"""

import sys
from typing import Any, NamedTuple

import speed_side

CLASSES = 10
POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}


class Shape(NamedTuple):
    """A preset in numbers; blocks as in the preset are pre-norm, tokens are averaged."""

    side: int
    patch_size: int
    hidden_dim: int
    num_heads: int
    channels: int = 3
    conv_stem: bool = False
    num_layers: int = 4
    mlp_ratio: int = 2


SHAPES = {
    "vit_pico_patch4_28": Shape(28, 4, 96, 3, channels=1),
    "vit_pico_patch4_32": Shape(32, 4, 96, 3),
    "vit_nano_patch4_32": Shape(32, 4, 128, 4),
    "vit_nano_conv8_32": Shape(32, 8, 128, 4, conv_stem=True),
    "vit_nano_conv4_32": Shape(32, 4, 128, 4, conv_stem=True),
}


def widths_of(shape: Shape) -> list[int]:
    """Returns the channels of the convolutional stem's layers: each halves the image, the last has `hidden_dim`."""
    halvings = shape.patch_size.bit_length() - 1
    return [shape.hidden_dim >> (halvings - 1 - index) for index in range(halvings)]


def vit_keras_zoo(preset: str, dtype: str, batch_size: int, setting: str) -> speed_side.Step:
    """This package."""
    import keras as library

    import vit_keras as vk

    library.config.set_dtype_policy(POLICIES[dtype])
    model = vk.from_preset(preset, num_classes=CLASSES)
    return speed_side.keras_step(model, vk.training.AdamW(1e-4), "training", batch_size, setting)


def keras(preset: str, dtype: str, batch_size: int, setting: str) -> speed_side.Step:
    """The same model from Keras' own layers, as in its guides."""
    import keras as library
    from keras import layers

    library.config.set_dtype_policy(POLICIES[dtype])
    shape = SHAPES[preset]
    image = library.Input((shape.side, shape.side, shape.channels))
    cells = layers.Rescaling(1 / 255)(image)
    for width in widths_of(shape) if shape.conv_stem else ():
        cells = layers.Conv2D(width, 3, strides=2, padding="same", use_bias=False)(cells)
        cells = layers.ReLU()(layers.BatchNormalization()(cells))
    patch_size = 1 if shape.conv_stem else shape.patch_size
    cells = layers.Conv2D(shape.hidden_dim, patch_size, strides=patch_size)(cells)
    count = (shape.side // shape.patch_size) ** 2
    tokens = layers.Reshape((count, shape.hidden_dim))(cells)
    tokens = tokens + layers.Embedding(count, shape.hidden_dim)(library.ops.arange(count))
    for _ in range(shape.num_layers):
        normed = layers.LayerNormalization(epsilon=1e-6)(tokens)
        tokens = tokens + layers.MultiHeadAttention(shape.num_heads, shape.hidden_dim // shape.num_heads)(
            normed, normed
        )
        hidden = layers.Dense(shape.mlp_ratio * shape.hidden_dim, activation="gelu")(
            layers.LayerNormalization(epsilon=1e-6)(tokens)
        )
        tokens = tokens + layers.Dense(shape.hidden_dim)(hidden)
    tokens = layers.LayerNormalization(epsilon=1e-6)(tokens)
    model = library.Model(image, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(tokens)))
    return speed_side.keras_step(model, library.optimizers.AdamW(1e-4), "training", batch_size, setting)


def timm(preset: str, dtype: str, batch_size: int, setting: str) -> speed_side.Step:
    """Timm's VisionTransformer of the same shape."""
    from timm.layers import HybridEmbed
    from timm.models.vision_transformer import VisionTransformer
    from torch import nn

    shape = SHAPES[preset]
    stem: dict[str, Any] = {}
    if shape.conv_stem:
        layers, channels = list[Any](), shape.channels
        for width in widths_of(shape):
            layers += [nn.Conv2d(channels, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        backbone = nn.Sequential(*layers)
        stem["embed_layer"] = lambda embed_dim, **_: HybridEmbed(
            backbone, shape.side, in_chans=shape.channels, embed_dim=embed_dim
        )
    model = VisionTransformer(
        img_size=shape.side, patch_size=shape.patch_size, in_chans=shape.channels, num_classes=CLASSES, embed_dim=shape.hidden_dim,
        depth=shape.num_layers, num_heads=shape.num_heads, mlp_ratio=shape.mlp_ratio, class_token=False, global_pool="avg", **stem,
    )  # fmt: skip
    return speed_side.torch_step(
        model, "training", dtype, batch_size, setting, lambda output: output, side=shape.side, channels=shape.channels, classes=CLASSES,
    )  # fmt: skip


LIBRARIES = {"vit_keras_zoo": vit_keras_zoo, "keras": keras, "timm": timm}

if __name__ == "__main__":
    library, setting, preset, dtype, batch_size = sys.argv[1:]
    speed_side.choose_threads(setting)
    speed_side.serve(library, lambda: LIBRARIES[library](preset, dtype, int(batch_size), setting))
