"""What the backend computes on."""

import keras


def devices() -> list[str]:
    """Returns the devices the backend sees, "cpu:0" or "gpu:0" and so on.

    Example:
        >>> len(devices()) > 0
        True
    """
    if keras.backend.backend() == "torch":  # which Keras' own list leaves out
        place = keras.ops.convert_to_tensor(0).device
        return [f"{'cpu' if place.type == 'cpu' else 'gpu'}:{place.index or 0}"]
    return [str(device) for device in keras.distribution.list_devices()]


def has_accelerator() -> bool:
    """Returns whether the backend sees something else than a CPU.

    Example:
        >>> has_accelerator() == any("cpu" not in device for device in devices())
        True
    """
    return any("cpu" not in device for device in devices())
