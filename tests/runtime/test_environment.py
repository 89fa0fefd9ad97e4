import json
import os
import platform
from importlib.metadata import version

import keras

from vit_keras.runtime.environment import environment


def test_the_environment_names_versions_backend_and_hardware_as_json_holds_them():
    found = environment(["keras", "numpy", "no-such-package"])
    assert found["versions"] == {"keras": version("keras"), "numpy": version("numpy")}
    assert (found["python"], found["cores"]) == (platform.python_version(), os.cpu_count())
    assert found["backend"] == keras.backend.backend()
    assert len(found["devices"]) >= 1
    assert json.loads(json.dumps(found)) == found
