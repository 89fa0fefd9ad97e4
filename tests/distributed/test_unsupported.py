import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from vit_keras import vit
from vit_keras.errors import ClusterError

BACKEND = keras.backend.backend()


@pytest.mark.skipif(BACKEND != "torch", reason="of torch's process groups")
def test_fit_in_a_torch_process_group_is_refused(tiny_config, monkeypatch):
    import torch

    model = vit(tiny_config, num_classes=3)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    images, labels = np.zeros((2, 16, 16, 3), "float32"), np.zeros(2, "int32")
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(
        ClusterError, match=r"one of 2 processes of a torch process group.*KERAS_BACKEND=jax.*DistributedDataParallel"
    ):
        model.fit(images, labels, verbose=0)
    assert model.predict(images, verbose=0).shape == (2, 3)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 1)
    model.fit(images, labels, verbose=0)


@pytest.mark.slow
@pytest.mark.skipif(BACKEND != "tensorflow", reason="of TensorFlow's strategies")
def test_fit_under_several_tensorflow_workers_is_refused():
    servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    ports = [str(server.getsockname()[1]) for server in servers]
    for server in servers:
        server.close()
    script = str(Path(__file__).with_name("tensorflow_workers.py"))
    workers = [
        subprocess.Popen(
            [sys.executable, script, str(worker), *ports],
            env={**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for worker in range(2)
    ]
    for worker in workers:
        try:
            out, err = worker.communicate(timeout=900)
        finally:
            worker.kill()
        assert worker.returncode == 0, err
        found = json.loads(out.splitlines()[-1])
        for loop in ("fit", "evaluate"):
            assert found[loop].startswith("ClusterError: Keras' fit and evaluate fail under tf.distribute.Multi"), found
        assert found["predict"] == 8
        # If this fails, Keras has mended its loop: remove the refusal from `vit_keras/distributed/unsupported.py`.
        assert found["plain fit"] != "works"
