"""Says in a trained model what its outputs mean, before it is saved."""

import keras

from vit_keras.data import ImageData
from vit_keras.evaluation.multi_label import choose_threshold
from vit_keras.evaluation.predict import predict_probabilities


def describe_outputs(model: keras.Model, data: ImageData) -> None:
    """Sets the task of a model, and of a multi-label model the threshold that is best for the validation images."""
    model.task = data.task
    if data.task == "multi_label":
        validation = data.splits["validation"]
        probabilities = predict_probabilities(model, validation, task=data.task)
        model.threshold = choose_threshold(probabilities, validation.labels)
