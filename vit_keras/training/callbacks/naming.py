"""Names of variables that do not depend on the process, and the comparison of named arrays with them."""

from collections.abc import Iterable, Mapping

import keras
import numpy as np


def name_variables(variables: Iterable[keras.Variable]) -> dict[str, keras.Variable]:
    """Names variables by index, such as 0000/kernel; paths are not unique and depend on what else the process has built."""
    return {f"{index:04d}/{variable.name}": variable for index, variable in enumerate(variables)}


def find_differences(arrays: Mapping[str, np.ndarray], variables: Mapping[str, keras.Variable]) -> list[str]:
    """Returns how the names and shapes of arrays differ from those of variables."""
    differences = [f"{name} is missing" for name in variables if name not in arrays]
    differences += [f"{name} is unexpected" for name in arrays if name not in variables]
    return differences + [
        f"{name} is {arrays[name].shape}, not {tuple(variable.shape)}"
        for name, variable in variables.items()
        if name in arrays and arrays[name].shape != tuple(variable.shape)
    ]
