"""Which attention kernel is chosen, on a GPU, too: JAX lowers for CUDA without one. All kernels compute the same."""

import re
from collections import Counter

import keras
import numpy as np
import pytest

import vit_keras as vk
from vit_keras.layers.kernels import attention_kernel as kernels
from vit_keras.runtime.precision import dtype_policy

on_jax = pytest.mark.skipif(keras.backend.backend() != "jax", reason="what JAX does")
SHAPE = {"num_tokens": 197, "num_heads": 12, "head_dim": 64, "dtype": "bfloat16", "training": True}


@pytest.fixture
def gpu(monkeypatch):
    """Pretends that there is a GPU with cuDNN: programs are lowered for it, and not compiled."""
    from jax._src.cudnn import fused_attention_stablehlo as cudnn

    monkeypatch.setattr(cudnn, "check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(cudnn, "check_compute_capability", lambda capability: True)
    monkeypatch.setattr(kernels, "_platform", lambda: "gpu")
    monkeypatch.setattr(kernels, "_compile", lambda traced: traced.lower(lowering_platforms=("cuda",)))
    kernels._choose_for_jax_on_gpu.cache_clear()
    yield
    kernels._choose_for_jax_on_gpu.cache_clear()


def count_kernel_calls(side, policy, **changes):
    """Returns how often the training step that JAX lowers for a GPU calls each custom kernel."""
    import jax

    with dtype_policy(policy):
        model = vk.from_preset("vit_base_patch16_224", num_layers=2, num_classes=3, image_size=16 * side, **changes)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def step(trainable, others, images, labels):
        def loss_of(trainable):
            return loss(labels, model.stateless_call(trainable, others, images, training=True)[0])

        return jax.value_and_grad(loss_of)(trainable)

    weights = (
        [variable.value for variable in each] for each in (model.trainable_variables, model.non_trainable_variables)
    )
    given = (*weights, np.zeros((2, *model.input_shape[1:]), "uint8"), np.zeros(2, "int32"))
    text = jax.jit(step).trace(*given).lower(lowering_platforms=("cuda",)).as_text()
    return Counter(re.findall(r"custom_call @([\w$]+)", text))


@on_jax
@pytest.mark.parametrize("side", [2, 3], ids=["an odd number of tokens", "an even number"])
@pytest.mark.parametrize("remat", ["none", "block"])
def test_flash_attention_is_in_the_training_step_for_a_gpu(gpu, side, remat):
    calls = count_kernel_calls(side, "mixed_bfloat16", remat=remat)
    forwards = 2 if remat == "none" else 4  # remat attends again in the backward pass
    assert calls == {"__cudnn$fmhaSoftmax": forwards, "__cudnn$fmhaSoftmaxBackward": 2}


@on_jax
def test_a_slower_kernel_on_a_gpu_is_logged_once_with_the_reason(gpu, caplog):
    assert count_kernel_calls(2, "float32") == {}
    assert [record.message for record in caplog.records if "is computed by XLA" in record.message] == [
        "attention of 5 tokens in heads of 64 is computed by XLA: float32 has no flash attention: use mixed_bfloat16"
    ]
    caplog.clear()
    odd = kernels.attention_kernel(**SHAPE | {"head_dim": 12})
    assert (odd.name, "multiple of 8" in odd.reason) == (kernels.XLA, True)
    assert odd.reason in caplog.text


@on_jax
@pytest.mark.parametrize(("num_tokens", "padding"), [(196, 0), (197, 1), (256, 0), (257, 1)])
def test_tokens_are_padded_only_where_jax_needs_it(gpu, num_tokens, padding):
    kernel = kernels.attention_kernel(**SHAPE | {"num_tokens": num_tokens})
    assert (kernel.name, kernel.padding) == (kernels.FLASH, padding)


@on_jax
def test_a_failure_in_the_compiler_falls_back_too(gpu, monkeypatch, caplog):
    def fails(traced):
        raise RuntimeError("no engine for this graph\nand much more")

    monkeypatch.setattr(kernels, "_compile", fails)
    kernel = kernels.attention_kernel(**SHAPE)
    assert (kernel.name, kernel.reason) == (kernels.XLA, "RuntimeError: no engine for this graph")
    assert "no engine for this graph" in caplog.text
    assert count_kernel_calls(2, "mixed_bfloat16") == {}


@on_jax
def test_padding_changes_neither_values_nor_gradients():
    import jax

    rng = np.random.default_rng(0)
    parts = rng.normal(size=(3, 2, 5, 2, 8)).astype("float32")  # of queries, keys and values

    def attend(padding):
        def total(*parts):
            attended = kernels._padded_attention(*parts, padding, implementation="xla")
            return (attended**2).sum(), attended

        return jax.value_and_grad(total, argnums=(0, 1, 2), has_aux=True)(*parts)

    (_, plain), plain_gradients = attend(0)
    (_, padded), padded_gradients = attend(1)
    np.testing.assert_allclose(padded, plain, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(padded_gradients, plain_gradients, rtol=1e-5, atol=1e-5)
    expected = kernels.attend_by_products(np.stack(parts, axis=2))
    np.testing.assert_allclose(plain, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("num_tokens", "training", "dropout", "fused_on_torch"),
    [(197, True, False, False), (197, False, False, True), (4097, True, False, True), (4097, True, True, False)],
)
def test_on_a_cpu_only_torch_avoids_storing_weights_and_every_kernel_has_a_reason(
    num_tokens, training, dropout, fused_on_torch, caplog
):
    kernel = kernels.attention_kernel(**SHAPE | {"num_tokens": num_tokens, "training": training}, dropout=dropout)
    fused = keras.backend.backend() == "torch" and fused_on_torch
    assert (kernel.name, kernel.padding) == (kernels.FUSED if fused else kernels.PRODUCTS, 0)
    assert kernel.reason
    assert str(kernel) == f"{kernel.name} ({kernel.reason})"
    assert caplog.text == ""


@pytest.mark.parametrize("name", [kernels.FUSED, kernels.XLA, kernels.PRODUCTS])
def test_kernels_compute_the_same(name):
    qkv = np.random.default_rng(0).normal(size=(2, 5, 3, 2, 8)).astype("float32")
    found = kernels.AttentionKernel(name=name).attend(keras.ops.convert_to_tensor(qkv))
    queries, keys, values = np.moveaxis(qkv, 2, 0).transpose(0, 1, 3, 2, 4)
    scores = queries @ keys.transpose(0, 1, 3, 2) / np.sqrt(8)
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    expected = (weights @ values).transpose(0, 2, 1, 3)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(found), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", [kernels.FUSED, kernels.XLA, kernels.PRODUCTS])
def test_padding_of_packed_images_is_masked_by_every_kernel(name):
    qkv = np.random.default_rng(0).normal(size=(3, 5, 3, 2, 8)).astype("float32")
    kernel = kernels.AttentionKernel(name=name, has_padding=True)
    num_valid = [2, 5, 3]
    found = kernel.attend(keras.ops.convert_to_tensor(qkv), num_valid=keras.ops.convert_to_tensor(num_valid, "int32"))
    for index, count in enumerate(num_valid):
        alone = kernels.AttentionKernel(name=name).attend(keras.ops.convert_to_tensor(qkv[index : index + 1, :count]))
        one, other = (keras.ops.convert_to_numpy(each) for each in (found[index, :count], alone[0]))
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert "padding of packed images masked" in str(kernel)


@on_jax
@pytest.mark.parametrize("max_num_patches", [8, 9])
def test_packed_images_have_flash_attention_in_the_training_step_for_a_gpu(gpu, max_num_patches):
    calls = count_kernel_calls(2, "mixed_bfloat16", max_num_patches=max_num_patches)
    assert calls == {"__cudnn$fmhaSoftmax": 2, "__cudnn$fmhaSoftmaxBackward": 2}


@on_jax
def test_flash_attention_gets_the_number_of_valid_tokens():
    rng = np.random.default_rng(0)
    parts = rng.normal(size=(3, 2, 5, 2, 8)).astype("float32")
    num_valid = keras.ops.convert_to_tensor([3, 5], "int32")
    expected = kernels.attend_by_products(np.stack(parts, axis=2), num_valid=num_valid)
    for padding in (0, 1):
        found = kernels._padded_attention(*parts, padding, num_valid, implementation="xla")
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
