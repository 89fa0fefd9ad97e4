"""`vit-keras serve`."""

import json
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

from typer import Option

from vit_keras.cli.backend import announce, start_backend
from vit_keras.cli.help import SERVER
from vit_keras.cli.options import Debug, Json, Model, Quiet
from vit_keras.cli.output import err, out, printable, progress_console
from vit_keras.reporting.text import plural
from vit_keras.runtime.signals import Interruption
from vit_keras.zoo.find_model import find_model

if TYPE_CHECKING:
    from vit_keras.serving.model_service import ModelService
    from vit_keras.serving.server import ModelServer

_LOOK_SECONDS = 0.1  # between looks for Ctrl-C


def serve_command(
    model: Model,
    port: Annotated[
        int, Option(metavar="N", help="Port to listen on; 0 for any free one.", rich_help_panel=SERVER)
    ] = 8000,
    host: Annotated[
        str,
        Option(
            metavar="ADDRESS",
            help="Address to listen on; another than 127.0.0.1 lets other machines in, who need the token that is printed.",
            rich_help_panel=SERVER,
        ),
    ] = "127.0.0.1",
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Serve a model on this machine: a page that classifies images and shows attention, and POST /predict for programs.

    Open the address that it prints in a browser, or send images: curl --data-binary @cat.jpg -H 'Content-Type: image/jpeg'
    http://127.0.0.1:8000/predict. With --json it prints one line when it is ready. Ctrl-C ends it.

    Examples:
        vit-keras serve runs/photos-1
        vit-keras serve runs/photos-1 --port 0 --json
    """
    find_model(model)
    from vit_keras.serving.server import ModelServer

    with ExitStack() as ending:
        server = ModelServer(host, port)
        ending.callback(server.end)
        if server.token is not None:
            err.print(
                f"--host {host} lets other machines in: whoever has the token can use the model, and nothing is encrypted. Use it "
                "in a network that you trust."
            )
        start_backend(debug=debug)
        announce(f"loading {model}")
        from vit_keras.serving.model_service import ModelService
        from vit_keras.serving.run_report import find_name, find_report
        from vit_keras.zoo.load_model import open_model

        service = ModelService(open_model(model), find_name(model), report=find_report(model))
        ending.callback(service.end)
        service.warm_up()
        with Interruption() as interruption:
            server.start(service)
            _print_address(server, service, as_json=as_json)
            while not interruption.asked:
                time.sleep(_LOOK_SECONDS)
            server.end()
    counts = service.counts
    failed = f", {counts['failed']:,} could not be read" if counts["failed"] else ""
    progress_console(as_json=as_json, quiet=quiet).print(
        f"stopped; {plural(counts['classified'], 'image')} classified{failed}"
    )


def _print_address(server: "ModelServer", service: "ModelService", *, as_json: bool) -> None:
    """Says where the server is, when it is ready."""
    if as_json:
        line = {"url": server.url, "token": server.token, "model": service.name}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
    else:
        out.print(printable(f"{service.name}: {service.describe()['summary']}"))
        out.print(f"open it in a browser  {server.url}\nCtrl-C ends it")
