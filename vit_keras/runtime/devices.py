"""Devices of the backend."""

import keras


def devices() -> list[str]:
    """Returns the backend's devices, such as "cpu:0" or "gpu:0"."""
    if keras.backend.backend() == "torch":  # Keras' list lacks it
        device = keras.ops.convert_to_tensor(0).device
        return [f"{'cpu' if device.type == 'cpu' else 'gpu'}:{device.index or 0}"]
    return [str(device) for device in keras.distribution.list_devices()]


def has_accelerator() -> bool:
    """Returns whether the backend has a device that is not a CPU."""
    return any("cpu" not in device for device in devices())
