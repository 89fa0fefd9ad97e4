"""Models with random weights as the writer takes them, and graphs run by onnxruntime."""

import numpy as np
import onnxruntime

from vit_keras.exporting.onnx.writer import ModelDescription
from vit_keras.models.vit import weight_shapes


def describe(config, *, num_classes=None, scale=0.3, **more):
    """A model with random weights, whose variances are positive."""
    rng = np.random.default_rng(0)
    weights = {
        name: rng.normal(scale=scale, size=shape).astype("float32")
        for name, shape in weight_shapes(config, num_classes=num_classes).items()
    }
    weights = {name: np.abs(array) + 0.1 if name.endswith("variance") else array for name, array in weights.items()}
    outputs = num_classes or config.feature_dim
    return ModelDescription(config=config, weights=weights, head_classes=num_classes, num_outputs=outputs, **more)


def run_graph(model, images):
    """The outputs of a graph, by onnxruntime."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"images": images})
