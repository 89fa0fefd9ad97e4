"""Makes `tests/golden/libraries`: small random models of libraries that the tests don't install, with their outputs.

    pip install torch==2.14.1 torchvision==0.29.1 keras-hub==0.32.0 tensorflow einops open-clip-torch==3.3.0 timm
    pip install mmpretrain==1.2.0 mmcv-lite mmengine
    python scripts/make_library_references.py OUT --lucidrains VIT_OLD.PY VIT_NEW.PY --jeonsworld MODELING.PY

The single files are `vit_pytorch/vit.py` of lucidrains' vit-pytorch at commits 2fa2b62 (2022) and 69d24fe (2026), and
`models/modeling.py` of jeonsworld's ViT-pytorch at 460a162. Each reference has the library's tensors, pixels 0..255 and logits; of
KerasHub, a preset directory is written beside it, of OpenCLIP its two files. Seeds are fixed.
"""

import argparse
import importlib.util
import json
import os
import sys
from pathlib import Path
from unittest import mock

os.environ["KERAS_BACKEND"] = "torch"

import numpy as np
import torch
import torchvision
from safetensors.numpy import save_file

SIDE, CLASSES = 32, 5
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5,) * 3, (0.5,) * 3)
PIXELS = np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3)).astype("uint8")


def load_module(path: Path, name: str):
    """Returns a module of one file."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def save(path: Path, model: torch.nn.Module, statistics) -> None:
    """Gives a model random weights, and writes them with its logits."""
    torch.manual_seed(0)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    mean, std = statistics
    fractions = ((PIXELS / 255 - mean) / std).astype("float32").transpose(0, 3, 1, 2)
    with torch.no_grad():
        output = model.eval()(torch.from_numpy(np.ascontiguousarray(fractions)))
    logits = output[0] if isinstance(output, tuple) else output
    weights = {f"weights/{name}": np.ascontiguousarray(tensor) for name, tensor in model.state_dict().items()}
    save_file({**weights, "pixels": PIXELS, "logits": logits.numpy()}, path)


def make_torch(out: Path, lucidrains: list[Path], jeonsworld: Path) -> None:
    """Writes torchvision's, lucidrains' and jeonsworld's models."""
    sizes = {"image_size": SIDE, "patch_size": 8, "num_layers": 2, "num_heads": 2, "hidden_dim": 24, "mlp_dim": 48}
    vision = torchvision.models.VisionTransformer
    save(out / "torchvision.safetensors", vision(**sizes, num_classes=CLASSES), IMAGENET)
    with_layer = vision(**sizes, num_classes=CLASSES, representation_size=16)
    save(out / "torchvision_pre_logits.safetensors", with_layer, IMAGENET)
    sizes = {"image_size": SIDE, "patch_size": 8, "depth": 2, "heads": 2, "dim": 24, "mlp_dim": 48, "dim_head": 12}
    for path, name in zip(lucidrains, ("lucidrains_old", "lucidrains"), strict=True):
        save(out / f"{name}.safetensors", load_module(path, name).ViT(**sizes, num_classes=CLASSES), HALF)
    config = mock.MagicMock(hidden_size=24, classifier="token", patches={"size": (8, 8)})
    config.transformer = {
        "num_heads": 2,
        "num_layers": 2,
        "mlp_dim": 48,
        "attention_dropout_rate": 0.0,
        "dropout_rate": 0.1,
    }
    others = {"scipy": mock.MagicMock(), "models": mock.MagicMock(), "models.configs": mock.MagicMock()}
    resnet = {"jeonsworld.modeling_resnet": mock.MagicMock(), "jeonsworld": mock.MagicMock()}
    with mock.patch.dict(sys.modules, others | resnet):
        module = load_module(jeonsworld, "jeonsworld.modeling")
    save(out / "jeonsworld.safetensors", module.VisionTransformer(config, SIDE, CLASSES), HALF)


def make_mmpretrain(out: Path) -> None:
    """Writes MMPretrain's classifiers."""
    from mmpretrain.models import build_classifier

    sizes = {"embed_dims": 24, "num_layers": 2, "num_heads": 2, "feedforward_channels": 48}
    backbone = {"type": "VisionTransformer", "arch": sizes, "img_size": SIDE, "patch_size": 8}
    mean = {"out_type": "avg_featmap", "final_norm": False, "layer_scale_init_value": 0.1}
    cases = {
        "mmpretrain": ({}, {"type": "VisionTransformerClsHead", "in_channels": 24}),
        "mmpretrain_mean": (mean, {"type": "LinearClsHead", "in_channels": 24}),
    }
    for name, (changes, head) in cases.items():
        config = {"backbone": {**backbone, **changes}, "head": {**head, "num_classes": CLASSES}}
        save(out / f"{name}.safetensors", build_classifier({"type": "ImageClassifier", **config}), HALF)


def make_open_clip(out: Path) -> None:
    """Writes OpenCLIP's models, each in a directory as on the Hugging Face hub, and what they compute for the images."""
    import open_clip

    vision = {"image_size": SIDE, "layers": 2, "width": 24, "head_width": 12, "mlp_ratio": 2.0, "patch_size": 8}
    text = {"context_length": 8, "vocab_size": 20, "width": 8, "heads": 2, "layers": 1}
    changes = {
        "no_ln_pre": True,
        "ls_init_value": 0.1,
        "pool_type": "avg",
        "final_ln_after_pool": True,
        "head_width": 6,
    }
    cases = {"gelu": ({}, {}), "quick_gelu": ({"quick_gelu": True}, {}), "changed": ({}, changes)}
    for name, (of_model, of_vision) in cases.items():
        config = {"embed_dim": CLASSES, **of_model, "vision_cfg": {**vision, **of_vision}, "text_cfg": text}
        model = open_clip.model.CLIP(**config).eval()
        torch.manual_seed(2)
        for weight in model.parameters():
            torch.nn.init.normal_(weight, std=0.3)
        mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)
        fractions = ((PIXELS / 255 - mean) / std).astype("float32").transpose(0, 3, 1, 2)
        with torch.no_grad():
            output = model.encode_image(torch.from_numpy(np.ascontiguousarray(fractions)))
        folder = out / "open_clip" / name
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {key: np.ascontiguousarray(tensor) for key, tensor in model.state_dict().items()}
        save_file(tensors, folder / "open_clip_model.safetensors")
        preprocess = {"mean": mean, "std": std, "interpolation": "bicubic", "resize_mode": "shortest"}
        written = {"model_cfg": config, "preprocess_cfg": preprocess}
        (folder / "open_clip_config.json").write_text(json.dumps(written, indent=2) + "\n")
        save_file({"pixels": PIXELS, "logits": output.numpy()}, folder.with_suffix(".safetensors"))


def make_keras_hub(out: Path) -> None:
    """Writes KerasHub's classifier, as a preset directory."""
    import keras_hub

    models, generator = keras_hub.models, np.random.default_rng(1)
    backbone = models.ViTBackbone(
        image_shape=(SIDE, SIDE, 3),
        patch_size=8,
        num_layers=2,
        num_heads=2,
        hidden_dim=24,
        mlp_dim=48,
        layer_norm_epsilon=1e-5,
    )
    converter = keras_hub.layers.ViTImageConverter(image_size=(SIDE, SIDE), scale=1 / 127.5, offset=-1)
    preprocessor = models.ViTImageClassifierPreprocessor(image_converter=converter)
    for name, options in {"keras_hub": {}, "keras_hub_pre_logits": {"intermediate_dim": 16}}.items():
        model = models.ViTImageClassifier(backbone=backbone, num_classes=CLASSES, preprocessor=preprocessor, **options)
        model.set_weights([generator.normal(scale=0.3, size=weight.shape) for weight in model.weights])
        logits = model.predict(PIXELS, verbose=0)
        model.save_to_preset(out / name)
        save_file({"pixels": PIXELS, "logits": np.asarray(logits)}, out / f"{name}.safetensors")


def main() -> None:
    """Writes all references."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--lucidrains", type=Path, nargs=2, required=True)
    parser.add_argument("--jeonsworld", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    make_torch(arguments.out, arguments.lucidrains, arguments.jeonsworld)
    make_mmpretrain(arguments.out)
    make_open_clip(arguments.out)
    make_keras_hub(arguments.out)


if __name__ == "__main__":
    main()
