import inspect
from dataclasses import fields
from typing import Annotated, get_type_hints

import pytest
import typer

from vit_keras import data
from vit_keras.cli.commands import evaluate, finetune, train, tune
from vit_keras.cli.commands.data import check, show
from vit_keras.cli.options import AcceptLicense, Epochs, Json, Seed, loading_options, parse_fields, typed_options
from vit_keras.data.tables.options import TableOptions
from vit_keras.errors import InvalidArgumentError
from vit_keras.evaluation.evaluate import evaluate as evaluate_model
from vit_keras.training.run_inputs import RunOptions


@pytest.mark.parametrize("assignment", ["learning_rate", "=3"])
def test_an_assignment_needs_a_name_and_an_equals_sign(assignment):
    with pytest.raises(InvalidArgumentError, match=f"--set {assignment}: expected FIELD=VALUE"):
        parse_fields([assignment])


def test_only_typed_options_are_returned():
    app, found = typer.Typer(), []

    @app.command()
    def command(
        context: typer.Context,
        name: str = typer.Argument(None),
        epochs: Epochs = None,
        seed: Seed = None,
        objective: Annotated[list[str] | None, typer.Option()] = None,
        changes: Annotated[list[str] | None, typer.Option("--set", callback=parse_fields)] = None,
        accept_license: AcceptLicense = False,
        as_json: Json = False,
    ):
        found.append(typed_options(context))

    app(["--seed", "0", "--json"], standalone_mode=False)
    app(["mine", "--objective", "loss", "--set", "epochs=3", "--accept-license"], standalone_mode=False)
    assert found == [
        {"seed": 0},
        {"name": "mine", "objective": ["loss"], "changes": {"epochs": 3}, "accept_license": True},
    ]


def test_the_options_of_tables_have_the_same_names_everywhere():
    names = {each.name for each in fields(TableOptions)}
    assert names <= {each.name for each in fields(RunOptions)}
    assert loading_options(dict.fromkeys(names, "x")).keys() == names
    commands = (
        check.check_command,
        show.show_command,
        train.train_command,
        finetune.finetune_command,
        tune.tune_command,
    )
    for function in (*commands, data.load, data.check):
        assert names <= inspect.signature(function).parameters.keys()
    for function in (evaluate.evaluate_command, evaluate_model):  # the model has a task
        assert names - {"task"} <= inspect.signature(function).parameters.keys()
    for command in commands:  # one help text each
        hints = [get_type_hints(each, include_extras=True) for each in (command, train.train_command)]
        assert [hints[0][name] for name in names] == [hints[1][name] for name in names]
