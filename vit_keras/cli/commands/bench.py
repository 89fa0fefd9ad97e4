"""`vit-keras bench`."""

from typing import TYPE_CHECKING, Annotated

from rich.table import Table
from typer import Argument, Option

from vit_keras.cli.backend import announce, start_backend
from vit_keras.cli.checks import check_numbers
from vit_keras.cli.help import MODEL, OUTPUT, TRAINING
from vit_keras.cli.options import Debug, Json, Quiet, complete_preset
from vit_keras.cli.output import out, print_json, print_table
from vit_keras.presets import load_preset

if TYPE_CHECKING:
    from vit_keras.training.speed import Rate

_BUSY = 0.5  # other programs per core above which figures are unreliable


def bench_command(
    preset: Annotated[str, Argument(metavar="PRESET", help="A preset's name.", autocompletion=complete_preset)],
    image_size: Annotated[
        int | None, Option(metavar="PX", help="Height and width in place of the preset's.", rich_help_panel=MODEL)
    ] = None,
    batch_size: Annotated[
        list[int] | None,
        Option(
            metavar="N",
            help="Images per step; may be given several times. By default 1, 16 and 64.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    precision: Annotated[
        str,
        Option(
            metavar="NAME",
            help="auto (the fastest here), float32, mixed_bfloat16 or mixed_float16.",
            rich_help_panel=TRAINING,
        ),
    ] = "auto",
    device: Annotated[
        str | None,
        Option(
            metavar="NAME", help="cpu:0, gpu:0 and so on; by default the backend's first.", rich_help_panel=TRAINING
        ),
    ] = None,
    seconds: Annotated[
        float,
        Option(
            metavar="S",
            help="Approximate duration of each measurement, without compilation, s.",
            rich_help_panel=OUTPUT,
        ),
    ] = 5.0,
    as_json: Json = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Measure the speed of inference and training on this machine, and the batch size that fits.

    Examples:
        vit-keras bench vit_small_patch16_224
        vit-keras bench vit_small_patch16_224 --batch-size 8 --batch-size 32 --json
    """
    config = load_preset(preset).config
    check_numbers(image_size=image_size)
    start_backend(debug=debug, trains=True)
    import keras

    from vit_keras.training.speed import measure_speed

    if image_size is not None:
        config = config.replace(image_size=(image_size, image_size))
    announce(f"measuring {preset}, about a minute")
    speed = measure_speed(config, batch_sizes=batch_size, precision=precision, device=device, seconds=seconds)
    if as_json:
        print_json({"preset": preset, "backend": keras.backend.backend(), **speed.to_dict()})
        return
    out.print(
        f"{preset}: {config.num_params:,} parameters, {config.num_macs / 1e9:.2f} GMACs, {config.num_tokens} tokens"
    )
    out.print(
        f"{keras.backend.backend()} on {speed.device}, {speed.precision}; a large matrix product: "
        f"{speed.matmul_flops / 1e12:.2f} TFLOP/s; attention: {speed.attention}"
    )
    table = Table(box=None, pad_edge=False)
    for heading in ("batch", "inference, images/s", "of matrix product", "training, images/s", "of matrix product"):
        table.add_column(heading, justify="right")
    training = {rate.batch_size: rate for rate in speed.training}
    for rate in speed.inference:
        table.add_row(str(rate.batch_size), *_cells(rate), *_cells(training.get(rate.batch_size)))
    print_table(table, width=90)
    out.print(
        f"free memory {speed.free / 2**30:.1f} GiB: a training step should have room for {speed.largest_batch:,} images"
    )
    unsteady = sorted({rate.batch_size for rate in (*speed.inference, *speed.training) if not rate.is_steady})
    if speed.load > _BUSY or unsteady:
        spread = f"; with batches of {', '.join(map(str, unsteady))} (*) the rounds differed by more than 20 %"
        out.print(
            f"unreliable: other programs used {speed.load:.0%} of this machine before{spread if unsteady else ''}"
        )


def _cells(rate: "Rate | None") -> tuple[str, str]:
    if rate is None:
        return "does not fit", ""
    return f"{rate.images_per_second:,.1f}{'' if rate.is_steady else '*'}", f"{rate.share_of_matmul_rate:.0%}"
