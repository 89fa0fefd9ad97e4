import keras
import numpy as np
import oracle
import pytest
from contracts import JIT
from layers.test_contract import EVERYTHING, MODERN

from vit_keras.layers import ParallelBlock, TransformerBlock

SHAPE = (2, 5, 8)


def build(**arguments):
    keras.utils.set_random_seed(0)  # blocks that are compared need the same stochastic depth
    return oracle.build(TransformerBlock(2, 16, **arguments), SHAPE)


def train(block):
    """Returns the block's weights after two steps."""
    inputs = keras.Input(SHAPE[1:])
    model = keras.Model(inputs, block(inputs))
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=JIT)
    for _ in range(2):
        model.train_on_batch(oracle.tokens(), np.ones(SHAPE, "float32"))
    return model.get_weights()


@pytest.mark.parametrize(
    "arguments", [{}, {"layer_scale": 0.1, "activation": "gelu_tanh", "norm_epsilon": 1e-2}, MODERN]
)
def test_equals_the_oracle(arguments):
    block = build(**arguments)
    known = ("activation", "norm_epsilon", "gated_mlp", "rotary")
    settings = {name: value for name, value in arguments.items() if name in known}
    expected = oracle.transformer_block(oracle.tokens(), oracle.weights_of(block), num_heads=2, **settings)
    oracle.assert_close(oracle.call(block, oracle.tokens()), expected)


def test_dropout_and_stochastic_depth_act_in_training_only():
    block = build(**EVERYTHING)
    expected = oracle.transformer_block(
        oracle.tokens(), oracle.weights_of(block), num_heads=2, activation="gelu_tanh", norm_epsilon=1e-5
    )
    oracle.assert_close(oracle.call(block, oracle.tokens()), expected)
    assert not np.allclose(oracle.call(block, oracle.tokens(), training=True), expected, atol=1e-3)


def test_an_image_that_skips_both_branches_leaves_as_it_came():
    block = build(stochastic_depth_rate=0.7)
    outputs = np.stack([oracle.call(block, oracle.tokens(), training=True) for _ in range(40)])
    skipped = (outputs == oracle.tokens()).all(axis=(2, 3))
    assert 0.25 < skipped.mean() < 0.75  # both: 0.7 * 0.7


@pytest.mark.parametrize("arguments", [{}, {"stochastic_depth_rate": 0.5, "layer_scale": 0.1}, {"parallel": True}])
def test_remat_changes_neither_outputs_nor_trained_weights(arguments):
    plain, remat = (build(**arguments, remat=remat) for remat in ("none", "block"))
    for training in (False, True):
        oracle.assert_close(*(oracle.call(block, oracle.tokens(), training=training) for block in (plain, remat)), 1e-6)
    plain, remat = (train(build(**arguments, remat=remat)) for remat in ("none", "block"))
    for one, other in zip(plain, remat, strict=True):
        oracle.assert_close(one, other)


def find_unordered_reads(**options):
    """The readings of weights that may run before or after the optimizer's update, in TensorFlow's optimized graph of a training step."""
    import tensorflow as tf
    from tensorflow.core.protobuf import config_pb2, rewriter_config_pb2
    from tensorflow.python.grappler import tf_optimizer

    inputs = keras.Input(SHAPE[1:])
    model = keras.Model(inputs, build(remat="block")(inputs))
    model.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    step = tf.function(lambda tokens: model.train_step((tokens, tokens)))
    graph = step.get_concrete_function(tf.constant(oracle.tokens())).graph
    with graph.as_default():
        exported = tf.compat.v1.train.export_meta_graph(graph=graph)
    updates = [each.name for each in graph.get_operations() if each.type.startswith("Assign")]
    fetched = [output.op.name for output in graph.outputs]
    exported.collection_def["train_op"].node_list.value.extend([*fetched, *updates])
    settings = config_pb2.ConfigProto()
    rewriting = settings.graph_options.rewrite_options
    rewriting.min_graph_nodes = -1
    if not options.get("dependency_optimization", True):
        rewriting.dependency_optimization = rewriter_config_pb2.RewriterConfig.OFF
    nodes = {node.name: node for node in tf_optimizer.OptimizeGraph(settings, exported).node}

    def list_inputs(name):
        return {each.lstrip("^").partition(":")[0] for each in nodes[name].input}

    def find_weight(name):
        while nodes[name].op in ("Identity", "ReadVariableOp") or nodes[name].op.startswith("Assign"):
            name = nodes[name].input[0].partition(":")[0]
        return name

    def find_earlier(name):
        earlier, waiting = set(), [name]
        while waiting:
            new = list_inputs(waiting.pop()) - earlier
            earlier |= new
            waiting += new
        return earlier

    reads = [name for name, node in nodes.items() if node.op == "ReadVariableOp"]
    return [
        read
        for update in updates
        for read in reads
        if find_weight(read) == find_weight(update)
        and read not in find_earlier(update)
        and update not in find_earlier(read)
    ]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow has this graph optimizer")
def test_a_weight_of_a_recomputed_branch_is_read_before_the_optimizer_changes_it():
    import tensorflow as tf

    assert find_unordered_reads() != []  # without the setting
    assert find_unordered_reads(**tf.config.optimizer.get_experimental_options()) == []


def test_remat_wraps_both_branches_in_training_only(monkeypatch):
    wrapped = []
    monkeypatch.setattr(keras, "remat", lambda function: wrapped.append(function) or function)
    build(remat="block")(oracle.tokens())
    assert wrapped == []
    build(remat="block")(oracle.tokens(), training=True)
    assert len(wrapped) == 2


def test_parallel_makes_a_parallel_block_which_a_subclass_has_to_ask_for():
    class Mine(TransformerBlock):
        """A block of a user."""

    assert type(TransformerBlock(2, 16, parallel=True)) is ParallelBlock
    assert type(TransformerBlock(2, 16)) is TransformerBlock
    with pytest.raises(ValueError, match=r"Mine can't have parallel=True: derive it from ParallelBlock"):
        Mine(2, 16, parallel=True)
