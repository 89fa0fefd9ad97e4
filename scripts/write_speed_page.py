"""Writes docs/speed.md from the JSON of the benchmarks.

    python scripts/write_speed_page.py [--check]

`--check` writes nothing and ends with 1 where the page is not what the results say.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "speed.md"
LIBRARIES = {
    "vit_keras_zoo": "ours",
    "keras_hub": "KerasHub",
    "timm": "timm",
    "transformers": "transformers",
    "vit-keras": "vit-keras",
}


def read(name: str) -> dict[str, Any] | None:
    """A benchmark's result; None where it has not run."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else None


def machine(result: dict[str, Any]) -> str:
    """Where and when a result was measured, and how."""
    found = result["environment"]
    versions = ", ".join(
        f"{name} {version}"
        for name, version in found["versions"].items()
        if name in ("keras", "tensorflow", "jax", "torch")
    )
    return f"`{result['command']}`, {result['date']}, {found['processor']}, {found['cores']} cores, Python {found['python']}, {versions}."


def table(heads: list[str], rows: list[list[str]]) -> str:
    """A table of Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def ratio(found: dict[str, float]) -> str:
    """A median with its range."""
    return f"{found['median']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def beside_peers(result: dict[str, Any]) -> str:
    """Images a second, ratios, shares of the roofline."""
    rows = []
    for cell, found in result["results"].items():
        preset, kind, dtype = cell.split(", ")
        libraries = found["libraries"]
        ours = libraries["vit_keras_zoo"]
        best = max(
            (name for name in libraries if name != "vit_keras_zoo"),
            key=lambda name: libraries[name]["images_per_second"]["median"],
            default=None,
        )
        cells = [f"{'S/16' if 'small' in preset else 'B/16'} {kind}, {dtype}"]
        for name in LIBRARIES:
            row = libraries.get(name)
            mark = "*" if row and name in found["unreliable"] else ""
            cells.append(f"{row['images_per_second']['median']:.1f}{mark} ({row['setting']})" if row else "")
        if best:
            cells.append(ratio(libraries[best]["ours_is_faster"]))
        else:
            cells.append("")
        rows.append([*cells, f"{ours['share_of_matmul_rate']:.0%}"])
    heads = ["images a second", *LIBRARIES.values(), "ours beside the fastest of them", "of a matrix product's rate"]
    return f"{machine(result)} Batch {result['batch_size']}, {result['num_layers']} layers.\n\n{table(heads, rows)}"


def small(result: dict[str, Any]) -> str:
    """Small models beside plain Keras ones."""
    rows = []
    for cell in result["cells"]:
        rates = cell["images_per_second"]
        marks = {name: "*" if name in cell["unreliable"] else "" for name in rates}
        rows.append(
            [
                f"`{cell['preset']}`, {cell['params'] / 1e6:.2f} M, {cell['tokens']} tokens",
                *(f"{found['median']:,.0f}{marks[name]}" for name, found in rates.items()),
                ratio(cell["ours_is_faster"]),
                f"{cell['share_of_matmul_rate']:.0%}",
            ]
        )
    heads = [
        "training, images a second",
        "vit_keras",
        "plain Keras layers",
        "ours beside those",
        "of a matrix product's rate",
    ]
    return f"{machine(result)} Batch {result['cells'][0]['batch_size']}, float32.\n\n{table(heads, rows)}"


def cold(result: dict[str, Any]) -> str:
    """Seconds to the first trained batch."""
    rows = [
        [way, *(f"{found[part]['median']:.1f}" for part in ("import", "build", "first_batch", "all"))]
        for way, found in result["seconds"].items()
    ]
    heads = ["seconds", "imports", "model", "first batch", "all"]
    return f"{machine(result)} `{result['preset']}`, batch {result['batch_size']}.\n\n{table(heads, rows)}"


def fused(result: dict[str, Any]) -> str:
    """What one pass over memory gains."""
    rows = [
        [
            f"`{cell['preset']}`, batch {cell['batch_size']}, {cell['policy'].removeprefix('mixed_')}",
            ratio(cell["fused_is_faster"]),
        ]
        for cell in result["cells"]
    ]
    words = "The activation in the MLP and the norms as one loop each, forward and back, beside TensorFlow's own operations:"
    return f"{machine(result)} {words}\n\n{table(['training', 'fused is faster'], rows)}"


def scan(result: dict[str, Any]) -> str:
    """Why the blocks are not scanned."""
    rows = [
        [
            f"`{cell['preset']}`, {cell['num_layers']} blocks",
            f"{cell['seconds_to_compile']['compiled']:.1f} s",
            f"{cell['seconds_to_compile']['scanned']:.1f} s",
            ratio(cell["steps_faster"]["scanned"]),
            ratio(cell["steps_faster"]["stacking_left_out"]),
        ]
        for cell in result["cells"]
    ]
    heads = ["JAX", "compiling all blocks", "compiling a scan", "the scan's step is faster", "the same, stacked before"]
    return f"{machine(result)} Batch {result['cells'][0]['batch_size']}, float32.\n\n{table(heads, rows)}"


def scaling(result: dict[str, Any], backend: str) -> str:
    """Growth with tokens, depth and batch."""
    rows = []
    for kind in ("inference", "training"):
        for what, found in result.get(kind, {}).items():
            last = list(found["points"])[-1]
            point = found["points"][last]
            growth = found["growth"]
            rows.append(
                [
                    f"{kind}, {what} {' to '.join([next(iter(found['points'])), last])}",
                    f"{point['seconds']:.2f} s",
                    _exponent(growth["seconds"]),
                    f"{point['peak_bytes_risen'] / 2**20:,.0f} MiB",
                    _exponent(growth["peak_bytes_risen"]),
                ]
            )
    heads = [backend, "the largest takes", "time grows as the power", "memory", "memory grows as the power"]
    return f"{machine(result)} S/16 with {result['num_layers']} layers.\n\n{table(heads, rows)}"


def _exponent(value: float | None) -> str:
    return f"{value:.2f}" if value and value > 0 else ""


def gpu(result: dict[str, Any]) -> str:
    """What a GPU gave."""
    rows = []
    for part in result["parts"]:
        for kind in ("training", "inference"):
            if kind in part:
                row = part[kind]
                share = row.get("model_flops_utilisation") or row.get("of_matmul_rate")
                rows.append(
                    [" ".join(part["part"]), kind, f"{row['images_per_second']:,.0f}", f"{share:.0%}" if share else ""]
                )
    return f"{machine(result)}\n\n{table(['part', 'kind', 'images a second', 'of the peak'], rows)}"


def page() -> str:
    """The page."""
    parts = [
        "# Speed\n\nWritten by `scripts/write_speed_page.py` from the JSON in `benchmarks/results/`; each part names the command that measures it. "
        "`vit-keras bench PRESET` measures your own machine: images a second, what share of a large matrix product's rate that is, and the "
        "batch that fits.\n"
    ]
    if found := read("speed"):
        parts.append(f"## Beside other libraries, on a CPU\n\n{beside_peers(found)}")
        parts.append(
            "Each library at the better of its settings, in a process of its own, taking turns. The last column is the model's multiplications "
            "and additions a second beside those of a 2,048 x 2,048 matrix product in the same run: nobody can pass 100 %. "
            "A star: the rounds differed by more than a quarter, so the machine did other things, too.\n"
        )
    if found := read("small_models"):
        parts.append(f"## Small models on a CPU\n\n{small(found)}")
    if found := read("fused"):
        parts.append(f"## Fused chains in training, TensorFlow\n\n{fused(found)}")
    if found := read("scan"):
        parts.append(f"## A scan over the blocks, which is not used\n\n{scan(found)}")
    if found := read("cold_start"):
        parts.append(f"## From an empty process to the first trained batch\n\n{cold(found)}")
    measured = [(backend, read(f"scaling_{backend}")) for backend in ("torch", "tensorflow", "jax")]
    parts.extend(f"## Growth, {backend}\n\n{scaling(found, backend)}" for backend, found in measured if found)
    gpus = sorted(RESULTS.glob("gpu_*.json"))
    parts.extend(f"## {path.stem.removeprefix('gpu_')}\n\n{gpu(json.loads(path.read_text('utf-8')))}" for path in gpus)
    if not gpus:
        parts.append(
            "## On a GPU\n\nNot measured yet. `python benchmarks/gpu.py` measures it in under ten minutes: the kernel in the compiled program, "
            "utilisation of S, B, L and H, `fit` beside a bare loop, several steps a call, memory, cold start.\n"
        )
    parts.append(
        "## What makes it fast\n\n"
        "- One projection for queries, keys and values, and one matrix product for all images of a batch, forward and back.\n"
        "- The attention that each backend does best: two batched products on TensorFlow and on every CPU, `scaled_dot_product_attention` on torch "
        "with a GPU or with many tokens, cuDNN's flash attention on JAX with a GPU, in training with the odd number of tokens that a class token makes, too, which JAX by itself refuses; which kernel runs "
        "is said by `vit-keras bench`, and a slower one on a GPU in the log.\n"
        "- On TensorFlow, in training, activations and norms are one loop of XLA each, in a step that otherwise runs TensorFlow's faster products.\n"
        "- AdamW updates a weight with one kernel on TensorFlow, where Keras takes some twenty operations, and all weights in one call on torch; "
        "a schedule is computed once a step, not once a weight. Half of the time until the first batch was that.\n"
        "- On TensorFlow a training step is traced once, where Keras traces it twice, the optimizer's variables being made in between.\n"
        "- Keras' defaults where nothing is gained: XLA stays off on a CPU with TensorFlow (0.6x to 1.3x), and tokens are not padded (0.7x to 1.0x).\n"
        "- Static shapes, one compilation a shape; augmentation in the pipeline, never in the model.\n"
        "- On JAX `compile(steps_per_execution=32)` runs 32 steps in one call of the device, where Keras' own loop calls it 32 times.\n"
        "- The command line keeps what JAX compiled, beside downloads, a folder for each kind of processor (`JAX_COMPILATION_CACHE_DIR` chooses "
        "another).\n"
        '- bfloat16 where the processor multiplies it: `precision="auto"`.\n'
    )
    return "\n".join(parts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    if arguments.check:
        sys.exit(
            PAGE.read_text("utf-8") != page()
            and "docs/speed.md is not what benchmarks/results say: run scripts/write_speed_page.py"
        )
    PAGE.write_text(page(), "utf-8")
