from typing import Annotated

import pytest
import typer

from vit_keras.cli.options import AcceptLicense, Epochs, Json, Seed, parse_fields, typed_options
from vit_keras.errors import InvalidArgumentError


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
