"""One of two workers of `MultiWorkerMirroredStrategy`: prints what becomes of Keras' loops there; `test_unsupported.py` runs it.

python tests/distributed/tensorflow_workers.py WORKER PORT PORT
"""

import json
import os
import sys

os.environ["TF_CONFIG"] = json.dumps(
    {
        "cluster": {"worker": [f"127.0.0.1:{port}" for port in sys.argv[2:]]},
        "task": {"type": "worker", "index": int(sys.argv[1])},
    }
)

import keras
import numpy as np
import tensorflow as tf

import vit_keras as vk

CONFIG = vk.ViTConfig(image_size=16, patch_size=8, hidden_dim=16, num_layers=1, num_heads=2, mlp_dim=32)


def attempt(run):
    try:
        run()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "works"


def main():
    strategy, found = tf.distribute.MultiWorkerMirroredStrategy(), {}  # before any operation of TensorFlow
    with strategy.scope():
        plain = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        plain.compile("sgd", "mse")
        model = vk.vit(CONFIG, num_classes=2)
        model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images, labels = np.zeros((8, 16, 16, 3), "float32"), np.zeros(8, "int32")
    found["plain fit"] = attempt(lambda: plain.fit(np.ones((8, 3)), np.ones((8, 2)), batch_size=4, verbose=0))
    found["fit"] = attempt(lambda: model.fit(images, labels, batch_size=4, verbose=0))
    found["evaluate"] = attempt(lambda: model.evaluate(images, labels, batch_size=4, verbose=0))
    found["predict"] = len(model.predict(images, batch_size=4, verbose=0))
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
    os._exit(0)  # the workers would wait for each other


if __name__ == "__main__":
    main()
