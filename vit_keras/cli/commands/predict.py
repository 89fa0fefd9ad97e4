"""`vit-keras predict`."""

import sys
from typing import Annotated, Any

from typer import Argument, Exit, Option

from vit_keras.cli.backend import announce, start_backend
from vit_keras.cli.checks import check_all, check_image_paths
from vit_keras.cli.help import OUTPUT
from vit_keras.cli.options import Debug, Json, ModelPath, Quiet
from vit_keras.cli.output import SOME_FAILED, err, out, print_json, printable
from vit_keras.zoo.find_model import find_model


def predict_command(
    model: ModelPath,
    images: Annotated[
        list[str],
        Argument(metavar="IMAGES", help="Image files (JPEG, PNG, WebP, GIF, BMP, PPM, TIFF), or folders of them."),
    ],
    top: Annotated[int, Option(metavar="N", help="Number of classes per image.", rich_help_panel=OUTPUT)] = 5,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Classify images: the most probable classes of each, with probabilities.

    Examples:
        vit-keras predict runs/photos-1 cat.jpg
        vit-keras predict runs/photos-1 new_photos/ --top 1 --json > predictions.json
    """
    check_all(lambda: find_model(model), lambda: check_image_paths(images))
    start_backend(debug=debug)
    from vit_keras.evaluation.predict import predict

    announce(f"classifying with {model}")
    rows = predict(model, images, top=top)
    if as_json:
        found = []
        for row in rows:
            pairs = zip(row.classes, row.probabilities, strict=True)
            classes = [{"name": name, "probability": probability} for name, probability in pairs]
            outcome: dict[str, Any] = {"classes": classes} if row.error is None else {"error": row.error}
            found.append({"file": row.image, **outcome})
        print_json(found)
    else:
        for row in rows:
            if row.error is None:
                out.print(printable(str(row)))
            else:
                sys.stdout.flush()
                err.print(printable(f"skipped {row.error}"))
    if rows.errors:
        raise Exit(SOME_FAILED)
