"""Checks what we write for timm: its own model takes it whole and gives our logits.

    pip install timm torch torchvision keras && pip install --no-deps --editable .
    KERAS_BACKEND=torch python scripts/check_writers.py [REFERENCE...]

Of every reference in `tests/golden/timm` our model is built, written with its `config.json`, and loaded by timm from there, every
tensor once and none left. Prints the largest difference of the logits, and ends with 1 where one is above `TOLERANCE`.
"""

import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import timm
import torch
from safetensors.torch import load_file

from vit_keras import config_of, weights
from vit_keras.parity import read_reference

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "timm"
TOLERANCE = 1e-5


def difference(reference: Path) -> float:
    """Returns the largest difference between our logits and those of timm's model with the weights that we wrote.

    Args:
        reference: A file that `make_references.py` wrote.
    """
    expected = read_reference(reference)
    model = expected.build()
    arrays = {weight.path: keras.ops.convert_to_numpy(weight) for weight in model.weights}
    with tempfile.TemporaryDirectory() as folder:
        written = weights.write(arrays, config_of(model), Path(folder) / "written", to="timm")
        theirs = timm.create_model(f"local-dir:{written}").eval()
        theirs.load_state_dict(load_file(written / "model.safetensors"), strict=True)
    data = timm.data.resolve_model_data_config(theirs)
    images = (torch.tensor(expected.pixels) / 255 - torch.tensor(data["mean"])) / torch.tensor(data["std"])
    with torch.no_grad():
        logits = theirs(images.permute(0, 3, 1, 2)).numpy()
        ours = keras.ops.convert_to_numpy(model(expected.pixels))
    return float(np.abs(logits - ours).max())


if __name__ == "__main__":
    shipped = sorted(path for path in GOLDEN.glob("*.safetensors") if "reference" not in path.name)
    found = {}
    for path in [Path(name) for name in sys.argv[1:]] or shipped:
        found[path.stem] = difference(path)
        print(f"{path.stem:20} {found[path.stem]:.1e}")
    sys.exit(max(found.values()) > TOLERANCE)
