"""`vit-keras export`."""

from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from vit_keras.cli.backend import announce, start_backend
from vit_keras.cli.checks import check_all, check_source
from vit_keras.cli.help import DATA, MODEL, OUTPUT
from vit_keras.cli.options import AcceptLicense, Debug, Json, Model, Offline, Overwrite, Quiet, complete_source
from vit_keras.cli.output import out, print_json, printable
from vit_keras.zoo.find_model import find_model


def export_command(
    model: Model,
    path: Annotated[Path, Argument(metavar="OUT", help="File or directory to write; its ending says the format.")],
    format: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="onnx, bundle (.zip), savedmodel, tflite, keras, weights (.weights.h5), safetensors, preset, timm or huggingface; by default that of OUT's ending.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    precision: Annotated[
        str, Option(metavar="NAME", help="Of the weights: float32, float16 or int8.", rich_help_panel=OUTPUT)
    ] = "float32",
    quantization: Annotated[
        str,
        Option(
            metavar="NAME",
            help="Of int8: dynamic rounds activations by the range of each batch, static by that of the calibration images.",
            rich_help_panel=OUTPUT,
        ),
    ] = "dynamic",
    calibration: Annotated[
        str | None,
        Option(
            metavar="SOURCE",
            help="Images to check on, or data with labels; by default the validation images of a run.",
            autocompletion=complete_source,
            rich_help_panel=DATA,
        ),
    ] = None,
    max_accuracy_loss: Annotated[
        float,
        Option(
            metavar="FRACTION",
            help="Of float16 and int8: the largest loss of accuracy on the labeled images; 1 allows any.",
            rich_help_panel=DATA,
        ),
    ] = 0.01,
    softmax: Annotated[
        bool, Option("--softmax", help="End in probabilities instead of logits.", rich_help_panel=MODEL)
    ] = False,
    dynamic_image_size: Annotated[
        bool,
        Option("--dynamic-image-size", help="Take images of any height and width (ONNX).", rich_help_panel=MODEL),
    ] = False,
    outputs: Annotated[
        list[str] | None,
        Option(
            "--output",
            metavar="NAME",
            help="One more output: features, tokens or attention; repeat it for several (ONNX).",
            rich_help_panel=MODEL,
        ),
    ] = None,
    opset: Annotated[
        int, Option(metavar="N", help="Of ONNX: 20, or 17 for older runtimes.", rich_help_panel=OUTPUT)
    ] = 20,
    accept_license: AcceptLicense = False,
    offline: Offline = False,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Export a model for other programs: ONNX, and others; the file is compared with the model before it appears.

    Examples:
        vit-keras export runs/photos-1 photos.onnx
        vit-keras export runs/photos-1 photos.zip                           # with labels and a program that runs it
        vit-keras export runs/photos-1 photos-int8.onnx --precision int8
        vit-keras export vit_small_patch16_224:augreg_in21k_ft_in1k small.onnx --calibration photos/
    """
    from vit_keras.exporting.formats import find_format_name
    from vit_keras.exporting.options import ExportOptions
    from vit_keras.exporting.target import check_target

    check_all(
        lambda: find_model(model),
        lambda: find_format_name(path, format),
        lambda: check_target(path, overwrite=overwrite),
        lambda: ExportOptions(
            precision=precision,  # type: ignore[arg-type]  # checked there
            quantization=quantization,  # type: ignore[arg-type]
            softmax=softmax,
            outputs=tuple(outputs or ()),  # type: ignore[arg-type]
            opset=opset,
            max_accuracy_loss=max_accuracy_loss,
        ),
        lambda: check_source(calibration),
    )
    start_backend(debug=debug)
    announce(f"exporting {model}")
    from vit_keras.exporting.export import export

    result = export(
        model,
        path,
        format=format,
        precision=precision,
        softmax=softmax,
        calibration=calibration,
        overwrite=overwrite,
        quantization=quantization,
        dynamic_image_size=dynamic_image_size,
        outputs=outputs or (),
        opset=opset,
        max_accuracy_loss=max_accuracy_loss,
        accept_license=accept_license,
        offline=offline or None,
    )
    if as_json:
        print_json(result.to_dict())
    else:
        out.print(printable(str(result)))
