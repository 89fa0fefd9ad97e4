"""Training with recomputed blocks, many threads and small stacks, in several processes at once: no process dies, and the weights are right."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from vit_keras import ViTConfig, vit

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="its threads run XLA's loops"),
    pytest.mark.skipif(sys.platform == "win32", reason="the size of the stack is set by the shell"),
]

PROGRAM = """
import faulthandler, json, sys
faulthandler.enable()
import tensorflow as tf
tf.config.threading.set_inter_op_parallelism_threads(16)
tf.config.threading.set_intra_op_parallelism_threads(16)
import keras
import numpy as np
from layers.test_recomputation_under_load import train

for _ in range(2):
    np.testing.assert_allclose(train("block"), json.loads(sys.argv[1]), rtol=1e-3)
    keras.utils.clear_session()  # compiles again
"""
CONFIG = ViTConfig(
    image_size=8, patch_size=4, hidden_dim=8, num_layers=2, num_heads=2, mlp_dim=16, stem="conv", pooling="map", class_token=False,
    layer_scale=0.1,
)  # fmt: skip


def train(remat):
    """Returns the losses of a training."""
    images = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 3), dtype="uint8")
    keras.utils.set_random_seed(0)
    model = vit(CONFIG.replace(remat=remat), num_classes=2)
    model.compile(keras.optimizers.Adam(1e-2), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model.fit(images, np.arange(32) % 2, batch_size=16, epochs=6, shuffle=False, verbose=0).history["loss"]


def test_no_process_dies_and_the_losses_are_those_without_recomputation():
    command = [
        "bash",
        "-c",
        'ulimit -s 512; exec "$0" -c "$1" "$2"',
        sys.executable,
        PROGRAM,
        json.dumps(train("none")),
    ]
    path = os.pathsep.join(map(str, Path(__file__).parents[1:3]))
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "2", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": path}
    started = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    errors = [process.communicate()[1] for process in started]
    assert [process.returncode for process in started] == [0] * len(started), errors
