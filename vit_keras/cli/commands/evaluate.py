"""`vit-keras evaluate`."""

from typing import Annotated

from typer import Argument, Context, Option

from vit_keras.cli import options
from vit_keras.cli.backend import announce, start_backend
from vit_keras.cli.checks import check_all, check_source
from vit_keras.cli.help import DATA
from vit_keras.cli.output import out, print_json, printable
from vit_keras.zoo.find_model import find_model


def evaluate_command(
    context: Context,
    model: options.Model,
    data: Annotated[
        str | None,
        Argument(
            metavar="SOURCE",
            help="A folder, a table, or a data set's name; by default the test images of a run.",
            autocompletion=options.complete_source,
        ),
    ] = None,
    image_dir: options.ImageDir = None,
    image_column: options.ImageColumn = None,
    label_column: options.LabelColumn = None,
    label_separator: options.LabelSeparator = None,
    contained: options.Contained = False,
    split: Annotated[
        str, Option(metavar="NAME", help="Of SOURCE: train, validation, test, or all.", rich_help_panel=DATA)
    ] = "test",
    as_json: options.Json = False,
    quiet: options.Quiet = False,
    debug: options.Debug = False,
) -> None:
    """Measure a model on labeled images, or compute a finished run's test accuracy again.

    Examples:
        vit-keras evaluate runs/photos-1
        vit-keras evaluate runs/photos-1 other_photos/ --split all --json
    """
    check_all(lambda: find_model(model), lambda: check_source(data))
    start_backend(debug=debug)
    announce(f"evaluating {model}")
    if data is not None:
        from vit_keras.evaluation.evaluate import evaluate

        evaluation = evaluate(model, data, split=split, **options.loading_options(context.params))
        if as_json:
            print_json(evaluation.to_dict())
        else:
            out.print(printable(str(evaluation)))
        return
    from vit_keras.training.runs.repeating import evaluate_run

    result = evaluate_run(model)
    if as_json:
        print_json(result)
        return
    metric = next(iter(result))
    same = result[metric] == result["recorded"]
    note = "the same" if same else "differs: another backend, version or processor?"
    kind = "7.4f" if metric == "test_r2" else "7.2%"
    out.print(f"{metric.replace('_', ' '):14} {result[metric]:{kind}}")
    out.print(f"{'recorded':14} {result['recorded']:{kind}}   {note}")
