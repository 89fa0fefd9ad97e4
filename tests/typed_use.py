"""Programs that use vit_keras, for type checkers: they report the lines that say so, and no other. Nothing here is run."""

from pathlib import Path

import vit_keras as vk
from vit_keras.errors import InvalidArgumentError


def use() -> None:
    config = vk.ViTConfig(image_size=32, patch_size=8, hidden_dim=64, num_layers=2, num_heads=2, mlp_dim=128)
    params: int = config.replace(num_layers=3).num_params
    names: list[str] = vk.list_presets("vit_*")
    model = vk.from_preset(names[0], num_classes=3, hidden_dim=params)
    data = vk.data.load("digits", limit=100)
    result = vk.finetune(model, data, epochs=1, run_dir=Path("runs/mine"), learning_rate=1e-3)
    folder: Path = result.run_directory
    rows = vk.predict(folder, ["a.jpg", Path("b.jpg")], top=2)
    texts: list[str] = [str(row) for row in rows]
    exported: Path = vk.export(model, "pets.onnx", precision="int8", calibration=data).path
    recipe = vk.recipes.finetune(model, data, epochs=3).replace(learning_rate=1e-3)
    vk.train("vit_nano_conv8_96", "photos", recipe=recipe, distribution="fsdp")
    try:
        vk.tuning.search("photos", budget="30min")
    except (InvalidArgumentError, vk.VitKerasError) as error:
        lines: list[str] = [*texts, str(exported), str(error.exit_code), vk.__version__]
        raise SystemExit(len(lines)) from error


def misuse(config: vk.ViTConfig, data: vk.data.ImageData) -> None:
    vk.ViTConfig(image_size=(32, 32), hiden_dim=64)  # error: misspelled, and fields are missing
    text: str = config.num_params  # error: an integer
    vk.list_presets(3)  # error: a pattern is text
    vk.finetune("vit_nano_conv8_32:drawings", data, epochs="3")  # error: text, not a number
    vk.train("vit_nano_conv8_32", data, distribution="half")  # error: no such value
    vk.predict("runs/mine", "photo.jpg", 3)  # error: options are given by name
    _ = vk.export("runs/mine", "pets.onnx").pth  # error: no such attribute
    vk.data.load_all(text)  # error: no such name
    _ = vk.recipes.no_such_recipe  # error: unknown
