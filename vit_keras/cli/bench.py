"""`vit-keras bench`."""

from collections.abc import Sequence

import keras
from rich.table import Table

from vit_keras.cli.output import at_least, out, print_json
from vit_keras.presets import load_preset
from vit_keras.training.speed import Rate, measure_speed

_BUSY = 0.5  # programs a core, from which on figures are not to be believed


def bench(
    preset: str,
    *,
    image_size: int | None,
    batch_sizes: Sequence[int],
    precision: str,
    device: str | None,
    seconds: float,
    as_json: bool,
) -> None:
    """Prints how fast a preset predicts and trains on this machine.

    Args:
        preset: Its name.
        image_size: Another than its own, px.
        batch_sizes: Images at once; none for the default ones.
        precision: A word of `vit_keras.runtime.precision`.
        device: Which of the backend's; None for its first.
        seconds: Of each measurement.
        as_json: One JSON object instead of lines.

    Raises:
        InvalidArgumentError: There is no such preset or device, or a batch that should not fit.
    """
    config = load_preset(preset).config
    if image_size is not None:
        config = config.replace(image_size=(image_size, image_size))
    speed = measure_speed(
        config, batch_sizes=list(batch_sizes) or None, precision=precision, device=device, seconds=seconds
    )
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
    for heading in ("batch", "inference, images/s", "of the product", "training, images/s", "of the product"):
        table.add_column(heading, justify="right")
    trained = {rate.batch_size: rate for rate in speed.training}
    for rate in speed.inference:
        table.add_row(str(rate.batch_size), *_cells(rate), *_cells(trained.get(rate.batch_size)))
    at_least(90).print(table)
    out.print(
        f"free memory {speed.free / 2**30:.1f} GiB: a training step should have room for {speed.largest_batch:,} images"
    )
    unsteady = [rate.batch_size for rate in (*speed.inference, *speed.training) if not rate.is_steady]
    if speed.load > _BUSY or unsteady:
        of = (
            f"; rounds with {', '.join(map(str, sorted(set(unsteady))))} images differed by more than a fifth (*)"
            if unsteady
            else ""
        )
        out.print(f"not to be relied on: other programs kept {speed.load:.0%} of this machine busy before{of}")


def _cells(rate: Rate | None) -> tuple[str, str]:
    if rate is None:
        return "does not fit", ""
    return f"{rate.images_per_second:,.1f}{'' if rate.is_steady else '*'}", f"{rate.share_of_matmul_rate:.0%}"
