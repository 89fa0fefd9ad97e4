"""Training with recomputed blocks, many threads and small stacks, in several processes at once: no process dies, and the weights are right."""

import os
import subprocess
import sys

import keras
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="its threads run XLA's loops"),
    pytest.mark.skipif(sys.platform == "win32", reason="the size of the stack is set by the shell"),
]

PROGRAM = """
import faulthandler
faulthandler.enable()
import tensorflow as tf
tf.config.threading.set_inter_op_parallelism_threads(16)
tf.config.threading.set_intra_op_parallelism_threads(16)
import keras
import numpy as np
from vit_keras import ViTConfig, vit

config = ViTConfig(
    image_size=8, patch_size=4, hidden_dim=8, num_layers=2, num_heads=2, mlp_dim=16, stem="conv", pooling="map", class_token=False,
    layer_scale=0.1,
)
images = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 3), dtype="uint8")
labels = np.arange(32) % 2

def train(remat):
    keras.utils.set_random_seed(0)
    model = vit(config.replace(remat=remat), num_classes=2)
    model.compile(keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model.fit(images, labels, batch_size=16, epochs=6, shuffle=False, verbose=0).history["loss"]

expected = train("none")
for _ in range(2):
    keras.utils.clear_session()  # compiles again
    np.testing.assert_allclose(train("block"), expected, rtol=1e-3)
"""


def test_no_process_dies_and_the_losses_are_those_without_recomputation():
    command = ["bash", "-c", 'ulimit -s 512; exec "$0" -c "$1"', sys.executable, PROGRAM]
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": ""}
    started = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
        for _ in range(3)
    ]
    errors = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0] * len(started), errors
