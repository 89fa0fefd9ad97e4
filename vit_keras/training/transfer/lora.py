"""LoRA: adds low-rank matrices to a model, merges them, and saves them with the head, for vit_keras or for PEFT."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from vit_keras.errors import InvalidArgumentError, WeightMismatchError
from vit_keras.layers.adapted_block import TARGETS, AdaptedBlock, check_adapters
from vit_keras.models.vit import check_not_quantized
from vit_keras.models.wiring import read_model
from vit_keras.training.transfer.freezing import set_trainable
from vit_keras.training.transfer.lora_file import has_lora_header, read_lora_file, write_lora_file
from vit_keras.training.transfer.lora_layers import (
    check_has_lora,
    copy_with_lora,
    read_adapters,
    replace_blocks,
    to_array,
)
from vit_keras.training.transfer.peft_reading import read_peft
from vit_keras.training.transfer.peft_writing import PEFT_TARGETS, write_peft
from vit_keras.weights import open_tensors
from vit_keras.weights.lora.adapter_file import is_adapter


def add_lora(
    model: keras.Model,
    *,
    rank: int = 8,
    alpha: float | None = None,
    targets: Sequence[str] = TARGETS,
    scaling: str = "rank",
) -> keras.Model:
    """Returns a copy of a model with LoRA matrices in its blocks; only these and the head train.

    Before training, the copy has the outputs of the model: bit for bit, except where a compiler fuses other operations and rounds
    differently, as TensorFlow does in `predict`. It has its own weights and must be compiled. A `.keras` file keeps the LoRA matrices and
    what trains.

    Paper: Hu et al. 2021, arXiv 2106.09685.

    Args:
        model: Made by `vit` or `from_preset`.
        rank: Rank of the update; at most the hidden dimension.
        alpha: The update is scaled by `alpha / rank`; None for `rank`, a scale of 1.
        targets: Which projections: "qkv" and "output" of the attention, "expand" and "contract" of the MLP. With "qkv", queries, keys
            and values share one low-rank product; "query", "key" and "value" have one each, as in PEFT, and so have "gate" and "up"
            of a gated "expand".
        scaling: "rank", or "sqrt_rank" to scale by `alpha / sqrt(rank)` (Kalajdzievski 2023, arXiv 2312.03732).

    Raises:
        InvalidArgumentError: An argument is not legal, or the model is not a vit_keras model or has LoRA matrices.

    Example:
        >>> from vit_keras import ViTConfig, vit
        >>> config = ViTConfig(image_size=32, patch_size=4, hidden_dim=64, num_layers=2, num_heads=2, mlp_dim=128)
        >>> adapted = add_lora(vit(config, num_classes=10), rank=4, targets=["qkv"])
        >>> len(adapted.trainable_variables)
        6
    """
    if read_lora_config(model) is not None:
        raise InvalidArgumentError("The model already has LoRA matrices: merge_lora adds them to its weights.")
    alpha = rank if alpha is None else alpha
    check_adapters(rank=rank, alpha=alpha, targets=targets, scaling=scaling)
    parts = read_model(model)
    hidden_dim = parts.config.hidden_dim
    if rank > hidden_dim:
        raise InvalidArgumentError(f"rank must be at most the hidden dimension {hidden_dim}, got {rank}.")
    adapters: dict[str, Any] = {"rank": rank, "alpha": alpha, "targets": list(targets)}
    adapters |= {"scaling": scaling} if scaling != "rank" else {}
    return copy_with_lora(model, {block.name: adapters for block in parts.blocks})


def read_lora_config(model: keras.Model) -> dict[str, Any] | None:
    """Returns `rank`, `alpha` and `targets` of a model's LoRA matrices, or None where it has none.

    Where blocks differ, as in a model from PEFT, the result is `{"blocks": ...}` with the same per block.
    """
    adapters = read_adapters(model)
    first = next(iter(adapters.values()), None)
    is_same = len(adapters) == len(read_model(model).blocks) and all(each == first for each in adapters.values())
    return first if is_same or not adapters else {"blocks": adapters}


def merge_lora(model: keras.Model) -> keras.Model:
    """Returns a plain model of the same config with the LoRA matrices added to its weights, for `save_preset`.

    It has its own weights, all trainable, and must be compiled.

    Args:
        model: Made by `add_lora` or `load_lora`.

    Raises:
        InvalidArgumentError: The model has no LoRA matrices, or is quantized.
    """
    check_has_lora(model)
    check_not_quantized(model, "merge_lora")
    merged = replace_blocks(model, {})
    kernels = read_model(merged).weights()
    for layer in model.layers:
        for adapter in layer.adapted if isinstance(layer, AdaptedBlock) else ():
            down, up = to_array(adapter.adapter_down), to_array(adapter.adapter_up)
            kernel = to_array(kernels[adapter.kernel.path])
            kernel[:, adapter.columns] += adapter.scale * (down @ up)
            kernels[adapter.kernel.path].assign(kernel)
    set_trainable(merged, "full")
    return merged


def save_lora(model: keras.Model, path: str | Path, *, to: str = "vit_keras", base_model: str | None = None) -> Path:
    """Writes a model's LoRA matrices and head, without the other weights, atomically.

    For PEFT, it is a directory that `peft.PeftModel.from_pretrained` puts on the model of transformers or timm that
    `weights.write` writes; it also holds other weights that train. The outputs are those of this model.

    Args:
        model: Made by `add_lora` or `load_lora`.
        path: The safetensors file, replaced if it exists; for PEFT a new directory.
        to: "vit_keras"; or for PEFT, whose modules it adapts: "huggingface" (transformers 5), "huggingface_4" (transformers 4) or "timm".
        base_model: For PEFT, name or path of the base model, which its `AutoPeftModel` opens.

    Raises:
        InvalidArgumentError: The model has no LoRA matrices, or trains weights that can't be written, or the library has no such model.
        StorageError: The file can't be written, or the directory exists.

    Example:
        >>> import tempfile
        >>> from vit_keras import from_preset
        >>> model = add_lora(from_preset("test_vit", num_classes=2), rank=4, targets=["query", "value"])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sorted(item.name for item in save_lora(model, folder + "/adapter", to="huggingface").iterdir())
        ['adapter_config.json', 'adapter_model.safetensors']
    """
    path = Path(path)
    check_has_lora(model)
    if to not in ("vit_keras", *PEFT_TARGETS):
        raise InvalidArgumentError(f"to={to!r} is none of {['vit_keras', *PEFT_TARGETS]}.")
    if to != "vit_keras":
        write_peft(model, path, to=to, base_model=base_model)
    elif base_model is not None:
        raise InvalidArgumentError(
            "base_model= is for PEFT, with to='huggingface' or 'timm'; a file of vit_keras has none."
        )
    else:
        write_lora_file(model, path)
    return path


def load_lora(
    model: keras.Model,
    path: str | Path,
    *,
    alpha: float | None = None,
    scaling: str | None = None,
    adapter: str | None = None,
) -> keras.Model:
    """Returns a copy of a model with the LoRA matrices and the head of a file or a PEFT adapter, ready to predict, train or merge.

    Of PEFT, read are an adapter's directory, its safetensors file alone, or the state dict of a model with its adapter not merged, which
    has the base model's weights, too. What such an adapter changes outside of the blocks' projections is part of the weights, and
    trains: classifiers (`modules_to_save`), biases, and matrices of other layers, which are merged. A head for other classes is
    made. Variants such as DoRA are refused by name. The dropout of the matrices' inputs, which matters only for training, is not kept.

    Args:
        model: With the weights that the matrices were trained on; LoRA matrices that it has are dropped.
        path: A file of `save_lora`, or PEFT's directory or file.
        alpha: For a file of PEFT without `adapter_config.json`: its `lora_alpha`.
        scaling: For the same: "rank", or "sqrt_rank" if it was trained with `use_rslora`.
        adapter: Name of the adapter, for a state dict with several.

    Raises:
        InvalidArgumentError: An argument is not legal or missing, or the adapter is of a kind that can't be represented.
        StorageError: There is no such file.
        CorruptFileError: It is damaged, or holds a number that is not finite.
        UnsafeFileError: It is a pickle.
        WeightMismatchError: It is not a LoRA file, or is for another config, other weights or another head.
    """
    path = Path(path)
    if not path.is_dir():
        with open_tensors(path) as file:  # checks the bytes before another reader sees them
            is_peft = is_adapter(file.tensors)
        if not is_peft and path.suffix == ".safetensors" and has_lora_header(path):
            if (alpha, scaling, adapter) != (None, None, None):
                raise InvalidArgumentError(
                    f"{path} is a file of save_lora, which states all: leave out alpha=, scaling= and adapter=."
                )
            return read_lora_file(model, path)
        if not is_peft:
            raise WeightMismatchError(
                f"{path} is not a LoRA file: it is neither of save_lora nor has it matrices lora_A and lora_B, as PEFT's have. from_preset "
                "reads weights."
            )
    return read_peft(model, path, alpha=alpha, scaling=scaling, adapter=adapter)
