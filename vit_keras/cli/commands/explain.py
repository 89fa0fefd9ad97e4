"""`vit-keras explain`."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Exit, Option

from vit_keras.cli.backend import announce, start_backend
from vit_keras.cli.checks import check_all, check_image_paths
from vit_keras.cli.help import MODEL, OUTPUT
from vit_keras.cli.options import Debug, Json, Overwrite, Quiet
from vit_keras.cli.output import SOME_FAILED, choose_output, err, out, print_json, printable
from vit_keras.errors import InvalidArgumentError, StorageError, VitKerasError
from vit_keras.zoo.find_model import find_model

if TYPE_CHECKING:
    import numpy as np

    from vit_keras.evaluation.images import ImageInput
    from vit_keras.zoo.load_model import OpenModel

METHODS = ("attention", "rollout", "relevance")
_PICTURE, _PAGE = Path("explained.png"), Path("explained.html")
_MOST = 60  # images on a sheet


def explain_command(
    model: Annotated[
        str, Argument(metavar="MODEL", help="A run or preset directory, or NAME or NAME:TAG of a preset.")
    ],
    images: Annotated[list[str], Argument(metavar="IMAGES", help="Image files, or folders of them.")],
    weights: Annotated[
        str | None,
        Option(
            metavar="TAG",
            help="For a preset's name: a tag of its checkpoints, or the path of a checkpoint.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    method: Annotated[
        str,
        Option(
            metavar="NAME",
            help="rollout, attention (of the class token in one block), or relevance (for the top class).",
            rich_help_panel=MODEL,
        ),
    ] = "rollout",
    layer: Annotated[
        int,
        Option(metavar="N", help="For --method attention: the block, from 0; -1 for the last.", rich_help_panel=MODEL),
    ] = -1,
    against: Annotated[
        str | None,
        Option(
            metavar="MODEL",
            help="A second model to compare with: a directory, or a preset's name.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    out_file: Annotated[
        Path | None,
        Option(
            "--out",
            metavar="FILE",
            help="Picture to write; by default explained.png, explained-2.png, ...",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    report: Annotated[
        Path | None,
        Option(
            metavar="FILE",
            help="Write an HTML page instead that shows one image's forward pass step by step.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Draw which parts of images a model attends to, or show one forward pass step by step (--report).

    Examples:
        vit-keras explain runs/photos-1 cat.jpg dog.jpg
        vit-keras explain runs/photos-1 photos/ --method relevance --out relevance.png
        vit-keras explain runs/photos-1 cat.jpg --report cat.html
    """
    option, chosen, default = ("--report", report, _PAGE) if report is not None else ("--out", out_file, _PICTURE)
    written = choose_output(chosen, default, option=option, overwrite=overwrite)
    check_all(
        lambda: _check_choices(method, images, report),
        lambda: find_model(model),
        lambda: find_model(against) if against else None,
        lambda: check_image_paths(images),
    )
    start_backend(debug=debug)
    announce(f"loading {model}")
    if report is not None:
        _write_report(model, images, weights, written)
        if as_json:
            print_json({"page": str(written)})
        else:
            out.print(printable(f"open it in a browser  {written}"))
        return
    from vit_keras import explain
    from vit_keras.evaluation.images import list_images
    from vit_keras.zoo.load_model import open_model

    names = [model, against] if against else [model]
    opened = [open_model(name, weights=weights if name is model else None, allow_random=True) for name in names]
    announce("drawing what it attends to")
    inputs = list_images(images)
    kept, pixels = _load_images(inputs[:_MOST], opened)
    explained = [_explain(each, shown, method, layer) for each, shown in zip(opened, pixels, strict=True)]
    tops = [_classify(each, shown) for each, shown in zip(opened, pixels, strict=True)]
    pictures, captions = [], list[str]()
    for index, image in enumerate(kept):
        pictures.append(explained[0][index][0])
        captions.append(printable(Path(image.name).name))
        for place, name in enumerate(names):
            pictures.append(explain.overlay(*explained[place][index]))
            top = tops[place][index]
            captions.append(printable(f"{top['class']} {top['probability']:.0%}" if top else Path(name).name))
    figure = explain.show(pictures, titles=captions, columns=6)
    try:
        figure.savefig(written, dpi=110)
    except (OSError, ValueError) as error:
        raise StorageError(f"{written}: could not be written ({error}). Name it .png or .jpg.") from error
    rows: list[dict[str, Any]] = [{"file": image.name, **top} for image, top in zip(kept, tops[0], strict=True)]
    for row, top in zip(rows, tops[1] if against else (), strict=False):
        row["against"] = top
    if as_json:
        print_json({"picture": str(written), "images": rows})
    else:
        _print_rows(rows, written, left_out=len(inputs) - _MOST)
    if len(kept) < min(len(inputs), _MOST):
        raise Exit(SOME_FAILED)


def _print_rows(rows: Sequence[dict[str, Any]], picture: Path, *, left_out: int) -> None:
    """Prints the top class of each image, of both models if there are two, and where the picture is."""
    for row in rows:
        found = [each for each in (row, row.get("against", {})) if "class" in each]
        shown = (f"{each['class']} {each['probability']:.1%}" for each in found)
        out.print(printable("  ".join([row["file"], *shown])))
    out.print(printable(f"picture  {picture}"))
    if left_out > 0:
        out.print(f"{left_out} more images were not drawn; a picture shows {_MOST}")


def _check_choices(method: str, images: Sequence[str], report: Path | None) -> None:
    if method not in METHODS:
        raise InvalidArgumentError(f"--method must be one of {', '.join(METHODS)}, got {method!r}.")
    if report is not None and (len(images) != 1 or Path(images[0]).is_dir()):
        raise InvalidArgumentError("--report shows one image: give one image file.")


def _classify(opened: "OpenModel", pixels: "np.ndarray") -> list[dict[str, Any]]:
    """Returns the top class per image with its probability; nothing for a model without class names, or for a regression."""
    from vit_keras.data.class_names import are_numbers
    from vit_keras.evaluation.predict import predict_probabilities

    if are_numbers(opened.class_names) or opened.task == "regression":
        return [{} for _ in pixels]
    return [
        {"class": opened.class_names[int(row.argmax())], "probability": float(row.max())}
        for row in predict_probabilities(opened.model, pixels, task=opened.task or "single_label")
    ]


def _explain(
    opened: "OpenModel", pixels: "np.ndarray", method: str, layer: int
) -> "list[tuple[np.ndarray, np.ndarray]]":
    """Returns each image to look at, and its map on its own grid of patches."""
    if not opened.preprocessing.packs:
        return list(zip(pixels, _compute_heat(opened, pixels, method, layer), strict=True))
    found = []
    for packed in pixels:
        plain, image = _unpack(opened, packed)
        found.append((image, _compute_heat(plain, image[None], method, layer)[0]))
    return found


def _unpack(opened: "OpenModel", packed: "np.ndarray") -> "tuple[OpenModel, np.ndarray]":
    """Returns a packed image unpacked, and the plain model of its size with the same outputs."""
    from vit_keras.packing import unpack_image
    from vit_keras.zoo.rebuild import rebuild

    image = unpack_image(packed)
    model = rebuild(opened.model, max_num_patches=None, image_size=image.shape[:2])
    return replace(opened, model=model), image


def _compute_heat(opened: "OpenModel", pixels: "np.ndarray", method: str, layer: int) -> "np.ndarray":
    from vit_keras import explain

    if method == "rollout":
        return explain.attention_rollout(opened.model, pixels)
    if method == "relevance":
        return explain.class_relevance(opened.model, pixels)
    attention = explain.prefix_attention(opened.model, pixels, layer=layer)
    if "class_token" not in attention:
        raise InvalidArgumentError("The model has no class token whose attention could be drawn: use --method rollout.")
    heat: np.ndarray = attention["class_token"].mean(1)  # over the heads
    return heat


def _load_images(
    images: "Sequence[ImageInput]", opened: "Sequence[OpenModel]"
) -> "tuple[list[ImageInput], list[np.ndarray]]":
    """Returns the images that could be read, and their pixels for each model."""
    import numpy as np

    kept, rows = [], list[list[np.ndarray]]()
    for image in images:
        try:
            rows.append([image.load(each.preprocessing) for each in opened])
            kept.append(image)
        except VitKerasError as error:
            err.print(printable(f"skipped {error}"))
    if not kept:
        raise InvalidArgumentError("None of the images could be read.")
    return kept, [np.stack(pixels) for pixels in zip(*rows, strict=True)]


def _write_report(model: str, images: Sequence[str], weights: str | None, page: Path) -> None:
    from vit_keras import explain
    from vit_keras.data.images.decode import read_image
    from vit_keras.zoo.load_model import open_model

    opened = open_model(model, weights=weights, allow_random=True)
    image = read_image(Path(images[0]), opened.preprocessing)
    if opened.preprocessing.packs:
        opened, image = _unpack(opened, image)
    explain.anatomy_report(opened.model, image, page, class_names=opened.class_names, title=Path(model).name)
