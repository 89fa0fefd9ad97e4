"""From pixels to tokens as ONNX nodes: normalization, patches, projection, prefix tokens, positions."""

from collections.abc import Sequence

import numpy as np

from vit_keras.exporting.onnx.dense import add_dense, add_norm
from vit_keras.exporting.onnx.graph import FLOAT, Graph, refuse
from vit_keras.exporting.onnx.positions import add_positions, add_sincos
from vit_keras.layers.patch_encoder import SINCOS, sincos2d, sincos_frequencies

_BATCH_NORM_EPSILON = 1e-5  # of `ConvStem`


def add_normalization(
    graph: Graph, name: str, inputs: Sequence[str], *, mean: Sequence[float], std: Sequence[float]
) -> str:
    """Adds `PixelNormalization`."""
    (images,) = inputs
    pixels = graph.add("Cast", images, name=f"{name}/pixels", to=FLOAT)
    scale, offset = 1 / (255 * np.array(std)), -np.array(mean) / np.array(std)
    scaled = graph.add("Mul", pixels, graph.constant(f"{name}/scale", scale.astype("float32")), name=f"{name}/scaled")
    return graph.add("Add", scaled, graph.constant(f"{name}/offset", offset.astype("float32")), name=name)


def add_patches(
    graph: Graph, name: str, inputs: Sequence[str], *, patch_size: int, as_grid: bool, partial_patches: str
) -> str:
    """Adds `Patches`: `(batch, patches, patch_dim)`."""
    (images,) = inputs
    size, channels = patch_size, graph.config.channels
    if partial_patches not in ("refuse", "crop"):
        raise refuse(f"partial_patches={partial_patches!r}")
    if as_grid:
        images = _add_whole_patches(graph, images, patch_size, name=name, crop=partial_patches == "crop")
        rows, columns = graph.grid or ("", "")
        parts = [graph.integers(0), rows, graph.integers(size), columns, graph.integers(size), graph.integers(channels)]
        shape = graph.add("Concat", *parts, name=f"{name}/shape", axis=0)
        cut = graph.add("Reshape", images, shape, name=f"{name}/cut")
    else:
        height, width = graph.config.grid_size
        if (height * size, width * size) != graph.config.image_size:
            limits = [graph.integers(0, 0), graph.integers(height * size, width * size), graph.integers(1, 2)]
            images = graph.add("Slice", images, *limits, name=f"{name}/cropped")
        cut = graph.reshape(images, 0, height, size, width, size, channels, name=f"{name}/cut")
    patches = graph.add("Transpose", cut, name=f"{name}/patches_first", perm=[0, 1, 3, 2, 4, 5])
    count = -1 if as_grid else graph.config.num_patches
    return graph.reshape(patches, 0, count, size * size * channels, name=name)


def add_conv_stem(
    graph: Graph, name: str, inputs: Sequence[str], *, patch_size: int, hidden_dim: int, as_grid: bool
) -> str:
    """Adds `ConvStem`: `(batch, patches, hidden_dim)`; batch normalization becomes part of the convolutions."""
    (images,) = inputs
    if as_grid:
        images = _add_whole_patches(graph, images, patch_size, name=name)
    cells = graph.add("Transpose", images, name=f"{name}/channels_first", perm=[0, 3, 1, 2])
    for index in range(patch_size.bit_length() - 1):
        layer, norm = f"{name}/convolution_{index}", f"{name}/norm_{index}"
        kernel = graph.weights[f"{layer}/kernel"].astype("float64")
        gamma, beta, mean, variance = (
            graph.weights[f"{norm}/{each}"].astype("float64")
            for each in ("gamma", "beta", "moving_mean", "moving_variance")
        )
        scale = gamma / np.sqrt(variance + _BATCH_NORM_EPSILON)
        folded = np.transpose(kernel * scale, (3, 2, 0, 1)).astype("float32")  # (outputs, inputs, height, width)
        weights = [
            graph.constant(f"{layer}/kernel", folded),
            graph.constant(f"{layer}/bias", (beta - mean * scale).astype("float32")),
        ]
        # What TensorFlow calls "same", for an even number of pixels.
        cells = graph.add("Conv", cells, *weights, name=layer, kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])
        cells = graph.add("Relu", cells, name=f"{layer}/relu")
    flat = graph.reshape(cells, 0, hidden_dim, -1, name=f"{name}/cells")
    return graph.add("Transpose", flat, name=name, perm=[0, 2, 1])


def _add_whole_patches(graph: Graph, images: str, patch_size: int, *, name: str, crop: bool = False) -> str:
    """Pads images with zeros at the bottom and right to a multiple of the patch size, or crops them; counts rows and columns."""
    size = graph.integers(patch_size)
    padding, counts = [], []
    for axis, place, lines in ((1, "height", "rows"), (2, "width", "columns")):
        side = graph.add("Shape", images, name=f"{name}/{place}", start=axis, end=axis + 1)
        if not crop:
            negative = graph.add("Neg", side, name=f"{name}/{place}_negative")
            padding.append(
                graph.add("Mod", negative, size, name=f"{name}/{place}_padding")
            )  # not negative, as in Python
            side = graph.add("Add", side, padding[-1], name=f"{name}/{place}_padded")
        counts.append(graph.add("Div", side, size, name=f"{name}/{lines}"))
    graph.grid = counts[0], counts[1]
    zero = graph.integers(0)
    if crop:
        whole = graph.add("Concat", *counts, name=f"{name}/grid", axis=0)
        ends = graph.add("Mul", whole, size, name=f"{name}/ends")
        return graph.add("Slice", images, graph.integers(0, 0), ends, graph.integers(1, 2), name=f"{name}/cropped")
    pads = graph.add("Concat", zero, zero, zero, zero, zero, *padding, zero, name=f"{name}/padding", axis=0)
    return graph.add("Pad", images, pads, name=f"{name}/padded")


def add_patch_encoder(
    graph: Graph,
    name: str,
    inputs: Sequence[str],
    *,
    hidden_dim: int,
    use_bias: bool,
    class_token: bool,
    distillation_token: bool,
    num_registers: int,
    position_embedding: str,
    position_on_prefix: bool,
    position_resize: str,
    patch_resize: str,
    grid_size: Sequence[int],
    dropout_rate: float,
    patch_norm: str | None = None,
    norm_epsilon: float = 1e-6,
) -> str:
    """Adds `PatchEncoder`; dropout is for training, and `patch_resize` for loading."""
    (patches,) = inputs
    tokens = add_dense(graph, patches, name=f"{name}/projection")
    if patch_norm is not None:
        tokens = add_norm(graph, tokens, name=f"{name}/norm", epsilon=norm_epsilon, norm=patch_norm)
    present = {"class_token": class_token, "distillation_token": distillation_token, "registers": num_registers > 0}
    prefix = [graph.weights[f"{name}/{each}"] for each, is_there in present.items() if is_there]
    front = np.concatenate(prefix, axis=1) if prefix else np.zeros((1, 0, hidden_dim), "float32")
    if position_embedding == "learned":
        positions = graph.weights[f"{name}/position_embedding"]
        on_prefix = front.shape[1] if position_on_prefix else 0
        front = front + positions[:, :on_prefix] if on_prefix else front
        of_patches = positions[:, on_prefix:]
        tokens = add_positions(
            graph, tokens, of_patches, name=f"{name}/position_embedding", before=grid_size, rule=position_resize
        )
    elif position_embedding in SINCOS and graph.grid is None:
        positions = sincos2d(*graph.config.grid_size, hidden_dim, kind=position_embedding)[None]
        fixed = graph.constant(f"{name}/positions", positions)
        tokens = graph.add("Add", tokens, fixed, name=f"{name}/add_positions")
    elif position_embedding in SINCOS:
        frequencies = sincos_frequencies(hidden_dim, kind=position_embedding).astype("float32")
        tokens = add_sincos(graph, tokens, frequencies, name=f"{name}/positions")
    elif position_embedding != "none":
        raise refuse(f"position_embedding={position_embedding!r}")
    if not front.shape[1]:
        return tokens
    # One copy per image: the batch, read from the tokens, and the shape of the prefix.
    batch = graph.add("Shape", tokens, name=f"{name}/batch", start=0, end=1)
    shape = graph.add("Concat", batch, graph.integers(*front.shape[1:]), name=f"{name}/prefix_shape", axis=0)
    copies = graph.add("Expand", graph.constant(f"{name}/prefix", front), shape, name=f"{name}/prefix_tokens")
    return graph.add("Concat", copies, tokens, name=name, axis=1)
