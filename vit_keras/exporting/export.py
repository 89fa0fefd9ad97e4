"""Exports a model to a file of another program: `vk.export`."""

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import keras

from vit_keras.errors import InvalidArgumentError
from vit_keras.evaluation.labeled_images import find_run_record
from vit_keras.exporting.base import ExportJob, Format, float32_beside
from vit_keras.exporting.check_images import CheckImages, find_check_images, random_images
from vit_keras.exporting.formats import find_format, format_packages
from vit_keras.exporting.options import ExportOptions
from vit_keras.exporting.plain_model import plain_model
from vit_keras.exporting.record import ExportRecord
from vit_keras.exporting.result import ExportResult
from vit_keras.exporting.target import check_target, new_in_place_of, path_size
from vit_keras.exporting.verification import measure_latency, verify
from vit_keras.models.output_kind import find_output_kind
from vit_keras.models.wiring import read_model
from vit_keras.presets import load_preset
from vit_keras.version import __version__
from vit_keras.zoo.find_model import find_model
from vit_keras.zoo.load_model import OpenModel, open_model
from vit_keras.zoo.model_card import model_card
from vit_keras.zoo.preset_directory import CARD
from vit_keras.zoo.rebuild import rebuild

_IMAGES = {"float32": 64, "float16": 256, "int8": 2000}
"""Largest number of real images that a file is checked on, by its precision."""


def export(
    model: keras.Model | str | Path,
    path: str | Path,
    *,
    format: str | None = None,
    precision: str = "float32",
    softmax: bool = False,
    calibration: Any = None,
    overwrite: bool = False,
    quantization: str = "dynamic",
    dynamic_image_size: bool = False,
    outputs: Sequence[str] = (),
    opset: int = 20,
    max_accuracy_loss: float | None = 0.01,
    accept_license: bool = False,
    offline: bool | None = None,
) -> ExportResult:
    """Writes a model to a file for another program, and compares the file with the model before it appears.

    The file is written under a temporary name, opened by its own runtime, and run on random images and on those of the run's validation
    data or of `calibration`, in several batch sizes. Where its outputs differ from the model's, an error says in which block, and no
    file appears. Images are uint8 pixels 0..255, and are normalized inside. How they are resized, the class names, license, preset,
    versions and the comparison are in the file's metadata.

    LoRA matrices are merged, and half-precision and int8 models computed in float32.

    Args:
        model: A model of this library, or what `vk.load_model` takes: a run directory, a preset's `NAME:TAG`, a preset directory, a
            `.keras` file.
        path: The new file or directory.
        format: "onnx", "bundle" (.zip), "savedmodel", "tflite", "keras", "safetensors", "preset", "timm" or "huggingface"; None for that of the
            path's ending.
        precision: Of the weights: "float32", "float16", or "int8" of the matrix products.
        softmax: Ends in probabilities (of a multi-label model, by a sigmoid) instead of logits.
        calibration: Images to check on and to calibrate with: data that `vk.evaluate` takes, with labels, or images that `vk.predict` takes.
            None for the validation images of the model's run.
        overwrite: Replaces an earlier file, or a directory that an export wrote.
        quantization: Of int8: "dynamic" rounds activations by the range of each batch, "static" by that of the calibration images.
        dynamic_image_size: Takes images of any height and width, as `ViTConfig` has it. ONNX only.
        outputs: More outputs: "features" (the head's input), "tokens" (of the last block, normalized) and "attention" (of the last block). ONNX only.
        opset: Version of ONNX's operators: 20, or 17 for older runtimes.
        max_accuracy_loss: Of float16 and int8: the largest loss of accuracy on labeled images, a fraction; one within two standard errors is
            allowed, too. None allows any. Without labels, at least 95 % of 1,000 or more images must keep their class.
        accept_license: Accepts a license that restricts the use of a preset's weights.
        offline: Uses only cached files and never downloads; None for what `VIT_KERAS_OFFLINE` says.

    Raises:
        InvalidArgumentError: An argument is not legal, the format can't express the model, or a package is missing.
        VerificationError: The file does not compute what the model does.
        StorageError: The file exists or can't be written.
        DataError: The images can't be read.

    Example:
        >>> import tempfile
        >>> from vit_keras import ViTConfig, vit
        >>> config = ViTConfig(image_size=32, patch_size=8, hidden_dim=32, num_layers=1, num_heads=2, mlp_dim=64)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     result = export(vit(config, num_classes=2), folder + "/model.keras")
        >>> result.format, result.verification.largest_difference
        ('keras', 0.0)
    """
    options = ExportOptions(
        precision=precision,  # type: ignore[arg-type]  # checked there
        quantization=quantization,  # type: ignore[arg-type]
        softmax=softmax,
        dynamic_image_size=dynamic_image_size,
        outputs=outputs,  # type: ignore[arg-type]
        opset=opset,
        max_accuracy_loss=max_accuracy_loss,
    )
    target = Path(path)
    writer = find_format(target, format)
    check_options(writer, options)
    check_target(target, overwrite=overwrite)
    opened = open_model(model, accept_license=accept_license, offline=offline)
    if opened.preprocessing.packs:
        raise InvalidArgumentError(
            "The model takes packed images of any aspect ratio (max_num_patches), which other programs can't make: export one of a single "
            "size, vk.rebuild(model, max_num_patches=None, image_size=(HEIGHT, WIDTH)); it has the same outputs for images of this size."
        )
    images = find_check_images(model, opened, calibration, limit=_IMAGES[options.precision])
    job = make_job(model, opened, writer, options, images)
    with new_in_place_of(target) as unfinished:
        writer.write(job, unfinished)
        verification = verify(writer, unfinished, job)
        image = images.images[:1] if len(images) else random_images(job.opened, 1)
        latency = measure_latency(writer.open(unfinished, job), image)
        before = float32_beside(unfinished)
        latency_before = measure_latency(writer.open(before, job), image) if before.exists() else None
        writer.write_record(job.record.with_verification(verification), unfinished)
        size, kept = path_size(unfinished), writer.kept_float(unfinished)
    return ExportResult(
        path=target,
        format=writer.name,
        precision=options.precision,
        size=size,
        verification=verification,
        latency_ms=latency,
        latency_before_ms=latency_before,
        kept_float=kept,
    )


def check_options(writer: Format, options: ExportOptions) -> None:
    """Raises `InvalidArgumentError` for options that a format does not have."""
    if options.precision not in writer.precisions:
        raise InvalidArgumentError(
            f"precision={options.precision!r}: the format {writer.name!r} has {', '.join(writer.precisions)}."
        )
    defaults = ExportOptions()
    others = {
        name
        for name in ("softmax", "dynamic_image_size", "outputs", "opset")
        if getattr(options, name) != getattr(defaults, name)
    }
    unknown = sorted(others - {*writer.options})
    if unknown:
        raise InvalidArgumentError(
            f"{', '.join(unknown)}: the format {writer.name!r} does not have this; leave it out."
        )


def make_job(
    source: keras.Model | str | Path, opened: OpenModel, writer: Format, options: ExportOptions, images: CheckImages
) -> ExportJob:
    """Returns what a format writes: the model in float32 with the end that the user asked for, and what travels with it."""
    task = opened.task or "single_label"
    activation = None
    if options.softmax:
        if not opened.class_names or task == "regression":
            what = "numbers of a regression" if task == "regression" else "features"
            raise InvalidArgumentError(f"softmax=True: the model's outputs are {what}, not classes; leave it out.")
        if find_output_kind(opened.model) != "probabilities":
            activation = "sigmoid" if task == "multi_label" else "softmax"
    model = plain_model(opened.model, classifier_activation=activation)
    config = read_model(model).config
    if options.dynamic_image_size and not config.dynamic_image_size:
        model = rebuild(model, dynamic_image_size=True)
        config = read_model(model).config
    plain = replace(opened, model=model)
    kind = find_output_kind(plain.model)
    output = "features" if not opened.class_names else "numbers" if task == "regression" else kind or "logits"
    preset, license = _find_origin(source)
    trained = find_run_record(source).get("data")
    data = (
        {name: trained[name] for name in ("name", "fingerprint") if name in trained}
        if isinstance(trained, dict)
        else {}
    )
    record = ExportRecord(
        format=writer.name,
        precision=options.precision,
        preprocessing=opened.preprocessing.to_dict(),
        config=config.to_dict(),
        output=output,
        class_names=opened.class_names,
        task=task,
        threshold=opened.threshold,
        preset=preset,
        license=license,
        data=data,
        versions=_versions(format_packages(writer.name)),
        color_order="RGB" if config.channels == 3 else "gray",
    )
    return ExportJob(opened=plain, record=record, options=options, images=images, card=_find_card(source, plain))


def _find_card(source: keras.Model | str | Path, opened: OpenModel) -> str:
    """Returns the model card beside a model, or else a new one."""
    path = None if isinstance(source, keras.Model) else find_model(source).path
    if path is not None and (path / CARD).is_file():
        return (path / CARD).read_text("utf-8")
    name = opened.model.name if isinstance(source, keras.Model) else Path(source).name
    config = read_model(opened.model).config
    return model_card(name, config, class_names=opened.class_names, notes="", task=opened.task)


def _find_origin(source: keras.Model | str | Path) -> tuple[str | None, str | None]:
    """Returns the preset's `NAME:TAG` that a model's weights come from, and their license, as far as they are known."""
    if isinstance(source, keras.Model):
        return None, None
    found = find_model(source)
    word, tag = found.preset, found.tag
    if word is None:
        options = find_run_record(source).get("options")
        options = options if isinstance(options, dict) else {}
        word, _, tag = str(options.get("model") or "").partition(":")
        tag = tag or options.get("weights")
    try:
        checkpoints = load_preset(word).weights if word else {}
    except InvalidArgumentError:  # the run started from a directory
        return None, None
    if tag is None or tag not in checkpoints:
        return word or None, None
    return f"{word}:{tag}", checkpoints[tag].license


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    versions = {"vit_keras": __version__, "keras": keras.__version__, "backend": keras.backend.backend()}
    for package in packages:
        try:
            versions[package] = version(package.replace("_", "-"))
        except PackageNotFoundError:  # a package of another name
            continue
    return versions
