import keras
import numpy as np
import oracle
from explain.plain import TOLERANCE

from vit_keras.explain.block_record import compute_block_inputs, compute_shared_bias, record_block
from vit_keras.explain.logits import compute_logits
from vit_keras.models.wiring import read_model
from vit_keras.training.transfer.lora import add_lora

numbers = keras.ops.convert_to_numpy


def test_every_step_of_a_block_leads_to_its_output(every_family):
    model, images, plain = every_family
    inputs = compute_block_inputs(model, images, range(2))
    parts, tokens = read_model(model), inputs[0]
    bias = compute_shared_bias(parts)
    for number, block in enumerate(parts.blocks):
        record = record_block(block, tokens, shared_bias=bias)
        output = numbers(block(tokens, attention_bias=bias))
        np.testing.assert_allclose(numbers(record.output), output, **TOLERANCE)
        np.testing.assert_allclose(numbers(record.weights), plain["maps"][number], **TOLERANCE)
        np.testing.assert_allclose(numbers(record.weights) @ numbers(record.values), numbers(record.heads), **TOLERANCE)
        tokens = record.output
    np.testing.assert_allclose(numbers(compute_logits(model, tokens)), plain["logits"], **TOLERANCE)


def test_lora_blocks_are_recorded(model, images):
    adapted = oracle.randomize(add_lora(model), seed=9)
    record = record_block(read_model(adapted).blocks[0], compute_block_inputs(adapted, images, [0])[0])
    np.testing.assert_allclose(
        numbers(record.output), numbers(read_model(adapted).blocks[0](record.tokens)), **TOLERANCE
    )
