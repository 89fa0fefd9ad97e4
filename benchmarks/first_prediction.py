"""From a folder of images to the first prediction of a class of one's own: lines typed, seconds, and what is printed.

    python benchmarks/first_prediction.py [--peers PYTHON ...] [--rounds 3] [--images 160]

Each library does what its documentation shows to a newcomer: read `photos/CLASS/image.png`, train a small network of its own for one
epoch from random weights (nothing is downloaded), and classify one image. Each runs in a new process, in turns; libraries that no
Python of `--peers` has are listed. Accuracy is not compared: one epoch says nothing about it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import harness

PROGRAMS: dict[str, tuple[str, str, str]] = {
    # the library's module, "shell" or "python", what is typed
    "vit_keras": (
        "vit_keras",
        "shell",
        "vit-keras train photos --epochs 1 --run-dir first\nvit-keras predict first photos/0/0.png",
    ),
    "ultralytics": (
        "ultralytics",
        "shell",
        "yolo classify train model=yolo11n-cls.yaml data=photos epochs=1 imgsz=96 pretrained=False name=first\n"
        "yolo classify predict model=runs/classify/first/weights/best.pt source=photos/0/0.png imgsz=96",
    ),
    "fastai": (
        "fastai",
        "python",
        """\
from fastai.vision.all import *
data = ImageDataLoaders.from_folder("photos", valid_pct=0.2, item_tfms=Resize(96), bs=16)
learner = vision_learner(data, resnet18, pretrained=False, metrics=accuracy)
learner.fit_one_cycle(1)
print(learner.predict("photos/0/0.png"))
""",
    ),
    "keras_hub": (
        "keras_hub",
        "python",
        """\
import keras, keras_hub, numpy as np
train, test = keras.utils.image_dataset_from_directory(
    "photos", image_size=(96, 96), batch_size=16, validation_split=0.2, subset="both", seed=0
)
backbone = keras_hub.models.ViTBackbone(
    image_shape=(96, 96, 3), patch_size=8, num_layers=6, num_heads=4, hidden_dim=128, mlp_dim=256
)
model = keras_hub.models.ViTImageClassifier(backbone, num_classes=len(train.class_names))
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"])
names = train.class_names
model.fit(train.map(lambda x, y: (x / 255, y)), validation_data=test.map(lambda x, y: (x / 255, y)), epochs=1)
image = keras.utils.img_to_array(keras.utils.load_img("photos/0/0.png", target_size=(96, 96))) / 255
print(names[int(np.argmax(model.predict(image[None])))])
""",
    ),
    "timm": (
        "timm",
        "python",
        """\
import timm, torch
from timm.optim import create_optimizer_v2
from PIL import Image
from timm.data import create_dataset, create_loader, resolve_data_config, create_transform
model = timm.create_model("vit_tiny_patch16_224", img_size=96, num_classes=8)
config = resolve_data_config({"input_size": (3, 96, 96)}, model=model)
dataset = create_dataset("", root="photos", split="", is_training=True)
loader = create_loader(dataset, input_size=config["input_size"], batch_size=16, is_training=True, device=torch.device("cpu"), num_workers=0)
optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3)
for images, labels in loader:
    loss = torch.nn.functional.cross_entropy(model(images), labels)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    print(float(loss))
model.eval()
transform = create_transform(**config)
with torch.no_grad():
    logits = model(transform(Image.open("photos/0/0.png").convert("RGB"))[None])
print(dataset.reader.class_to_idx, logits.softmax(-1).topk(5))
""",
    ),
}


def write_photos(folder: Path, count: int) -> None:
    """Writes images of the embedded emoji as `folder/CLASS/NUMBER.png`, 96 px."""
    from PIL import Image

    import vit_keras as vk

    split = vk.data.load("emoji", limit=count).splits["train"]
    numbers: dict[int, int] = {}
    for image, label in zip(split.images, split.labels.tolist(), strict=True):
        number = numbers[label] = numbers.get(label, -1) + 1
        path = folder / str(label) / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).resize((96, 96)).save(path)


def has_module(python: str, module: str) -> bool:
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)"
    return subprocess.run([python, "-c", code], check=False, cwd="/").returncode == 0


def run(python: str, kind: str, typed: str, folder: Path) -> tuple[float, str]:
    """Returns the seconds of a library's program in a fresh folder of images, and what it printed."""
    path = f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {
        "PATH": path,
        "KERAS_BACKEND": "tensorflow",
        "YOLO_OFFLINE": "true",
        "CUDA_VISIBLE_DEVICES": "",
    }
    command = ["bash", "-ec", typed] if kind == "shell" else [python, "-c", typed]
    start = time.perf_counter()
    done = subprocess.run(command, check=False, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{typed}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return time.perf_counter() - start, done.stdout


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="*", default=[], help="Python interpreters with the peers")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=160)
    options = parser.parse_args()
    # Not resolved: a virtual environment is known by the path of its Python.
    pythons = {"vit_keras": sys.executable} | {
        name: python
        for name, (module, _, _) in PROGRAMS.items()
        if name != "vit_keras"
        for python in reversed([sys.executable, *options.peers])
        if has_module(python, module)
    }
    seconds: dict[str, list[float]] = {name: [] for name in pythons}
    printed: dict[str, str] = {}
    for _ in range(options.rounds):
        for name, python in pythons.items():
            _, kind, typed = PROGRAMS[name]
            with tempfile.TemporaryDirectory() as folder:
                write_photos(Path(folder, "photos"), options.images)
                duration, printed[name] = run(python, kind, typed, Path(folder))
            seconds[name].append(duration)
    harness.record(
        "first_prediction",
        {
            "images": options.images,
            "not_installed": sorted(PROGRAMS.keys() - pythons.keys()),
            "libraries": {
                name: {
                    "lines": len(PROGRAMS[name][2].strip().splitlines()),
                    "characters": len(PROGRAMS[name][2].strip()),
                    "seconds": harness.spread(values),
                    "last_lines": printed[name].strip().splitlines()[-4:],
                }
                for name, values in seconds.items()
            },
        },
    )
