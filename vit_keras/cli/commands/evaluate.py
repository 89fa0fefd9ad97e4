"""`vit-keras evaluate`."""

from typing import Annotated

from typer import Argument, Option

from vit_keras.cli.backend import start_backend
from vit_keras.cli.options import Debug, Json, Model
from vit_keras.cli.output import out, print_json, printable


def evaluate_command(
    model: Model,
    data: Annotated[
        str | None,
        Argument(metavar="DATA", help="A folder, a CSV, or a data set's name; by default the test images of a run."),
    ] = None,
    split: Annotated[str, Option(help="Of DATA: train, validation, test, or all.")] = "test",
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Measure a model on labeled images, or compute a finished run's test accuracy again."""
    start_backend(debug=debug)
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
    name = next(iter(result))
    same = result[name] == result["recorded"]
    note = "the same" if same else "differs: another backend, version or processor?"
    out.print(f"{name.replace('_', ' ')}  {result[name]:7.2%}")
    out.print(f"recorded       {result['recorded']:7.2%}   {note}")
