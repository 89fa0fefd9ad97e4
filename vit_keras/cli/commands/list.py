"""`vit-keras list`."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Annotated, Any

from rich.table import Table
from typer import Argument, Option

from vit_keras.cli.help import MODEL, OUTPUT
from vit_keras.cli.options import Debug, Json
from vit_keras.cli.output import out, print_csv, print_json, print_table
from vit_keras.errors import InvalidArgumentError
from vit_keras.presets import list_presets, list_weights, load_preset, preset_info
from vit_keras.presets.catalog import preset_facts

_HEADINGS = ("preset", "image", "tokens", "parameters", "GMACs", "MiB per image", "weights", "start with")
START = {"vit_nano_conv8_96": "train", "vit_small_patch16_224": "finetune"}
"""The preset to start with, and the command: the default of `train`, and weights good enough for most images at a small size."""

_OF_PRESET = ("preset", "family", "params", "gmacs", "activation_mib", "tokens")
_OF_WEIGHTS = ("tag", "num_classes", "label_set", "top1", "license", "pretraining", "megabytes", "url")
_COLUMNS = (*_OF_PRESET, "height", "width", "patch_size", *_OF_WEIGHTS)  # of --csv
_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9}
_BEST = 10  # weights that --best names
_ACCURACY = """top-1: ImageNet-1k, %, by timm or the paper, at the preset's image size
params, GMACs per image: without the head"""


def list_command(
    pattern: Annotated[
        str, Argument(metavar="PATTERN", help="Name with the wildcards * ? [...]; by default all.", show_default=False)
    ] = "*",
    family: Annotated[
        str | None, Option(metavar="NAME", help="Only this family, such as dinov2.", rich_help_panel=MODEL)
    ] = None,
    image_size: Annotated[
        int | None, Option(metavar="PX", help="Only this image size, px per side.", rich_help_panel=MODEL)
    ] = None,
    max_params: Annotated[
        str | None, Option(metavar="N", help="At most so many parameters, such as 30M.", rich_help_panel=MODEL)
    ] = None,
    max_gmacs: Annotated[
        float | None, Option(metavar="N", help="At most so many 10^9 multiply-adds per image.", rich_help_panel=MODEL)
    ] = None,
    min_top1: Annotated[
        float | None,
        Option(metavar="PERCENT", help="With weights of at least this ImageNet-1k accuracy.", rich_help_panel=MODEL),
    ] = None,
    license_name: Annotated[
        str | None,
        Option(
            "--license", metavar="NAME", help="With weights under this license, such as MIT.", rich_help_panel=MODEL
        ),
    ] = None,
    pretraining: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="With weights first trained as: supervised, self_supervised, image_text or distilled.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    label_set: Annotated[
        str | None,
        Option(
            metavar="NAME",
            help="With weights that classify this label set, such as imagenet-1k; none for no classes.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    sort_by: Annotated[
        str | None,
        Option(
            "--sort",
            metavar="NAME",
            help="Sort by name, params, gmacs, image_size or top1, not by family.",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    best: Annotated[
        str | None,
        Option(
            metavar="BUDGET",
            help="The most accurate weights within so many parameters (10M) or GMACs (4G).",
            rich_help_panel=OUTPUT,
        ),
    ] = None,
    as_json: Json = False,
    as_csv: Annotated[
        bool, Option("--csv", help="Print a CSV table, a row per weights, to stdout.", rich_help_panel=OUTPUT)
    ] = False,
    debug: Debug = False,
) -> None:
    """List the presets by family, with their size, compute, memory, and number of trained weights; the last column marks those to start with.

    Examples:
        vit-keras list
        vit-keras list "*small*" --json
        vit-keras list --pretraining self_supervised --license Apache-2.0 --sort params
        vit-keras list --best 10M
        vit-keras list --best 4G --image-size 224
        vit-keras list --csv > presets.csv
    """
    if as_csv and as_json:
        raise InvalidArgumentError("--csv and --json are two formats of one output: give one of them.")
    given: dict[str, Any] = {
        "family": family,
        "image_size": image_size,
        "max_params": None if max_params is None else _parse_count(max_params, option="--max-params"),
        "max_gmacs": max_gmacs,
        "min_top1": min_top1,
        "license": license_name,
        "pretraining": pretraining,
        "label_set": label_set,
    }
    conditions = {name: value for name, value in given.items() if value is not None}
    if best is not None:
        if sort_by is not None:
            raise InvalidArgumentError("--best sorts by accuracy: leave out --sort.")
        _show_best(pattern, best, conditions, as_json=as_json, as_csv=as_csv)
        return
    describe = preset_info if as_json else preset_facts
    infos = [describe(name) for name in list_presets(pattern, sort_by=sort_by or "name", **conditions)]
    if not infos and conditions:
        raise InvalidArgumentError(
            f"No preset meets all conditions: {_list_conditions(pattern, conditions)}. Leave one out."
        )
    if not infos:
        raise InvalidArgumentError(
            f'No preset matches {pattern!r}. `vit-keras list` shows all; "*small*" matches inside a name.'
        )
    if as_json:
        print_json(infos)
    elif as_csv:
        weights = set(list_weights(pattern, **conditions))
        print_csv(_COLUMNS, (row for info in infos for row in _list_rows(info, weights)))
    elif conditions or sort_by is not None:
        _show_flat(infos, set(list_weights(pattern, **conditions)))
    else:
        _show_families(infos)


def _parse_count(word: str, *, option: str) -> float:
    """Returns a number such as 30M, 1.5B or 300k.

    >>> _parse_count("30M", option="--max-params")
    30000000.0
    """
    number, unit = (word[:-1], word[-1].lower()) if word[-1:].isalpha() else (word, "")
    try:
        count = float(number) * _UNITS[unit]
    except (ValueError, KeyError):
        count = 0.0
    if not 0 < count < float("inf"):
        raise InvalidArgumentError(f"{option} {word}: expected a positive number, such as 300k, 30M or 1.5B.")
    return count


def _parse_budget(word: str) -> dict[str, float]:
    """Returns the condition that a budget stands for.

    >>> _parse_budget("10M"), _parse_budget("4.6G"), _parse_budget("17GMACs")
    ({'max_params': 10000000.0}, {'max_gmacs': 4.6}, {'max_gmacs': 17.0})
    """
    number = word.lower().removesuffix("macs")
    if number.endswith("g"):
        return {"max_gmacs": _parse_count(number[:-1], option="--best")}
    return {"max_params": _parse_count(word, option="--best")}


def _list_rows(info: Mapping[str, Any], weights: set[str]) -> list[dict[str, Any]]:
    """Returns what `_COLUMNS` says of those of a preset's weights that were asked for; one row without a tag where it has none."""
    facts = {name: info[name] for name in _OF_PRESET[1:]}
    height, width = info["config"]["image_size"]
    facts |= {"preset": info["name"], "height": height, "width": width, "patch_size": info["config"]["patch_size"]}
    found = [each for tag, each in info["weights"].items() if f"{info['name']}:{tag}" in weights]
    return [{**facts, **{name: each[name] for name in _OF_WEIGHTS}} for each in found] or [facts]


def _show_best(
    pattern: str, budget: str, conditions: dict[str, Any], *, as_json: bool = False, as_csv: bool = False
) -> None:
    limit = _parse_budget(budget)
    twice = sorted(limit.keys() & conditions.keys())
    if twice:
        raise InvalidArgumentError(
            f"--best {budget} and --{twice[0].replace('_', '-')} limit the same: give one of them."
        )
    conditions = {**conditions, **limit}
    rows: list[dict[str, Any]] = []
    for name in list_weights(pattern, sort_by="top1", **conditions):
        preset, _, tag = name.partition(":")
        info = preset_info(preset)
        weights = info["weights"][tag]
        if weights["top1"] is not None and len(rows) < _BEST:
            facts = {"weights": name, "preset": preset, "params": info["params"], "gmacs": info["gmacs"]}
            rows.append({**facts, "image_size": info["config"]["image_size"], "paper": info["paper"], **weights})
    if not rows:
        raise InvalidArgumentError(
            f"No weights with a known accuracy meet all conditions: {_list_conditions(pattern, conditions)}. Use a larger budget."
        )
    if as_json:
        print_json(rows)
        return
    if as_csv:
        print_csv(_COLUMNS, (_list_rows(preset_info(row["preset"]), {row["weights"]})[0] for row in rows))
        return
    table = _make_table("weights", ("top-1", "params", "GMACs"))
    for row in rows:
        table.add_row(row["weights"], f"{row['top1']:.2f}", f"{row['params'] / 1e6:.1f}M", f"{row['gmacs']:.2f}")
    print_table(table)
    first = rows[0]
    height, width = first["image_size"]
    restricted = load_preset(first["preset"]).weights[first["tag"]].needs_acceptance
    facts = {
        "The first": first["weights"],
        "image": f"{height}x{width} px",
        "license": first["license"] + ", to be accepted with accept_license=True" * restricted,
        "weights": first["url"],
        "paper": first["paper"],
    }
    out.print("\n" + "\n".join(f"{title:10} {value}" for title, value in facts.items()) + f"\n\n{_ACCURACY}")


def _show_flat(infos: Sequence[Mapping[str, Any]], weights: set[str]) -> None:
    """Prints a row per preset: its costs, and the accuracy and number of those of its weights that were asked for."""
    table = _make_table("preset", ("px", "params", "GMACs", "top-1", "weights"))
    for info in infos:
        found = [each for tag, each in info["weights"].items() if f"{info['name']}:{tag}" in weights]
        top1 = max((each["top1"] for each in found if each["top1"] is not None), default=None)
        height, width = info["config"]["image_size"]
        table.add_row(
            info["name"],
            str(height) if height == width else f"{height}x{width}",
            f"{info['params'] / 1e6:.1f}M",
            f"{info['gmacs']:.2f}",
            "-" if top1 is None else f"{top1:.2f}",
            str(len(found) or "-"),
        )
    print_table(table)
    out.print(f"\n{_ACCURACY}")


def _show_families(infos: Sequence[Mapping[str, Any]]) -> None:
    infos = sorted(infos, key=lambda info: info["family"])  # of a family, they are sorted by name
    rows = {info["name"]: _describe(info) for info in infos}
    widths = [max(map(len, column)) for column in zip(_HEADINGS, *rows.values(), strict=True)]
    lines = [_align(_HEADINGS, widths)]
    for (family, description), members in groupby(infos, key=lambda info: (info["family"], info["description"])):
        lines += [f"\n# {family}: {description}", *(_align(rows[info["name"]], widths) for info in members)]
    for info in infos:
        for tag, weights in info["weights"].items():
            if weights["file"] is not None:  # no download
                lines.append(f"\n# {info['name']}:{tag} is in the package, {weights['license']}; {weights['note']}")
    out.print("\n".join(lines))


def _describe(info: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns what `_HEADINGS` says of a preset."""
    height, width = info["config"]["image_size"]
    size = f"{height}x{width} px", str(info["tokens"]), f"{info['params']:,}"
    costs = f"{info['gmacs']:.3f}", f"{info['activation_mib']:.1f}"
    return info["name"], *size, *costs, str(len(info["weights"]) or "-"), START.get(info["name"], "")


def _align(cells: Sequence[str], widths: Sequence[int]) -> str:
    """Returns a row as text: numbers to the right, the first and the last column to the left."""
    numbers = [cell.rjust(width) for cell, width in zip(cells[1:-1], widths[1:-1], strict=True)]
    return "  ".join([cells[0].ljust(widths[0]), *numbers, cells[-1]]).rstrip()


def _make_table(name: str, numbers: Sequence[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(name, no_wrap=True)
    for heading in numbers:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _list_conditions(pattern: str, conditions: Mapping[str, Any]) -> str:
    """Returns conditions as the user typed them."""
    words = [] if pattern == "*" else [repr(pattern)]
    return ", ".join([*words, *(f"{name}={value}" for name, value in conditions.items())])
