"""`vit-keras evaluate`."""

from typing import Annotated

from typer import Argument, Option

from vit_keras.cli.backend import announce, start_backend
from vit_keras.cli.checks import check_all, check_source
from vit_keras.cli.help import DATA
from vit_keras.cli.options import Debug, Json, ModelPath, Quiet, complete_source
from vit_keras.cli.output import out, print_json, printable
from vit_keras.zoo.find_model import find_model


def evaluate_command(
    model: ModelPath,
    data: Annotated[
        str | None,
        Argument(
            metavar="SOURCE",
            help="A folder, a CSV file, or a data set's name; by default the test images of a run.",
            autocompletion=complete_source,
        ),
    ] = None,
    split: Annotated[
        str, Option(metavar="NAME", help="Of SOURCE: train, validation, test, or all.", rich_help_panel=DATA)
    ] = "test",
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
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

        evaluation = evaluate(model, data, split=split)
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
    same = result["test_accuracy"] == result["recorded"]
    note = "the same" if same else "differs: another backend, version or processor?"
    out.print(f"test accuracy  {result['test_accuracy']:7.2%}")
    out.print(f"recorded       {result['recorded']:7.2%}   {note}")
