"""Writes docs/speed.md from the JSON results of the benchmarks.

    python scripts/write_speed_page.py [--check]

`--check` writes nothing and exits with 1 where the page does not match the results.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "speed.md"
LIBRARIES = {
    "vit_keras_zoo": "vit_keras",
    "keras_hub": "KerasHub",
    "timm": "timm",
    "transformers": "transformers",
    "vit-keras": "vit-keras",
}
HEAD = """# Speed

Written by `scripts/write_speed_page.py` from the JSON in `benchmarks/results/`; each section names the command that measures it. \
`vit-keras bench PRESET` measures your own machine: images per second, their fraction of the rate of a large matrix product, and the \
largest batch that fits.
"""
PEERS_NOTE = """\
Each library has the better of its settings and its own process; the processes take turns. The last column is the model's \
multiplications and additions per second, relative to those of a 2,048 x 2,048 matrix product in the same run: 100 % is the limit. \
A star: the rounds differ by more than a quarter, because the machine was busy with other work.
"""
NO_GPU = """\
## On a GPU

Not measured yet. `python benchmarks/gpu.py` measures it in under ten minutes: the kernel in the compiled program, utilization of \
S, B, L and H, `fit` compared with a bare loop, several steps per call, memory, cold start.
"""
REASONS = """\
## What makes it fast

- One projection for queries, keys and values, and one matrix product for all images of a batch, forward and backward.
- The fastest attention of each backend. TensorFlow, and JAX on a CPU: two batched products. torch: `scaled_dot_product_attention`, but \
two products where a CPU trains with at most 512 tokens, since its gradient is slower there. JAX with a GPU: cuDNN's flash attention, also \
in training with the odd number of tokens that a class token causes, which JAX itself refuses. `vit-keras bench` shows which kernel runs, and the log warns of a slower one on a GPU.
- On TensorFlow, in training, each activation and each norm is an XLA program, in a step that otherwise runs TensorFlow's faster products; \
the norms in `predict`, too. Their row means are matrix products, since XLA does not vectorize a sum.
- On TensorFlow, attention has its own gradient in training: one loop over the scores.
- On TensorFlow, training with more than 1,024 tokens attends to 256 queries at a time and computes the attention weights again for the \
gradient: memory grows with the tokens and not with their square. In float32, the loop of the activation's gradient computes the hidden \
activations again, too, which are a fifth of what a block keeps.
- On torch, one operation multiplies by the weights and adds the bias, and norms take half precision without casts.
- On TensorFlow, with bfloat16 and matrix units (AMX), a projection and its bias are a 1 x 1 convolution: the product with a bias does not \
use the matrix units there.
- AdamW updates a weight with one kernel on TensorFlow, where Keras uses some twenty operations, and all weights in one call on torch; \
a schedule is computed once per step, not once per weight. That was half of the time until the first batch.
- On TensorFlow a training step is traced once, where Keras traces it twice, because it creates the optimizer's variables in between.
- Keras' defaults where nothing is gained: XLA stays off on a CPU with TensorFlow (0.6x to 1.3x), and tokens are not padded (0.7x to 1.0x).
- Static shapes, one compilation per shape; augmentation in the pipeline, never in the model.
- On JAX `compile(steps_per_execution=32)` runs 32 steps in one call of the device, where Keras' own loop calls it 32 times.
- The command line keeps what JAX compiled in the cache, in a folder for each kind of processor (`JAX_COMPILATION_CACHE_DIR` chooses \
another).
- bfloat16 where the processor multiplies it: `precision="auto"`.
- On TensorFlow with 2 to 4 cores and no GPU, runs of vit_keras give each operation one core, and a step computes parts of the batch at the \
same time: threads that share a short operation wait for each other. Results are equal but for rounding. For your own `model.fit` set \
`TF_NUM_INTRAOP_THREADS=1` and `TF_NUM_INTEROP_THREADS=2`, the number of cores, before Python starts; single images then take longer. \
`vit-keras info --json` and `run.json` show the number as `parallel_operations`.
"""
MATRIX_UNITS = """\
## Tried on a processor with matrix units (AMX)

Measured on an Intel Xeon, 2 cores, S/16, batch 16, both forms in turns in one process. These kernels made training 1.22 times as fast in \
bfloat16 and 1.02 in float32, `predict` 1.37 (processor time) and 1.10. Of 1.34 times less processor time in training with bfloat16, \
6 blocks, 1.15 is left without the convolution, 1.25 without the norms, 1.27 without attention's gradient and 1.30 without the GELU by `erf`.

Inference in bfloat16 stays behind compiled PyTorch. Tried and not used, in milliseconds of one operation unless said otherwise:

| tried | now | then | why not |
| --- | --- | --- | --- |
| the MLP's first projection as a convolution, GELU as a loop after it | 5.7 | 3.2 + 3.2 | no gain: the pass through memory costs what the product wins |
| `TF_ONEDNN_ASSUME_FROZEN_WEIGHTS=1`, the fused product with GELU on the matrix units | 6.2 | 4.3 | it holds for training, too, where weights change |
| softmax of bfloat16 scores without casts | 3.2 | 2.2 | no difference in a whole step |
| softmax as an XLA loop | 3.2 | 6.4 | slower |
| queries, keys and values by one product per head, without a transpose | 2.9 + 1.8 | 2.9 | not built; the bias would need a pass of its own |
| the product with a bias as a batched product, scale and bias after it | 6.7 | 6.6 | TensorFlow did not fuse them |
| one thread between operations, float32 training, seconds per step | 2.7 | 2.4 | set for the whole process, it would also slow down reading images |
| huge pages, `GLIBC_TUNABLES=glibc.malloc.hugetlb=1`, float32 training, seconds per step | 2.7 | 2.5 | has to be set before Python starts; no gain in bfloat16 (1.1 and 1.2) |

On torch, memory that a step frees goes back to the system, and the next step gets it page by page. With these \
variables the process keeps it: `MALLOC_MMAP_THRESHOLD_=1073741824 MALLOC_TRIM_THRESHOLD_=2147483647`. A step of S/16 in float32 \
took 0.85 s in place of 1.0 in inference, and 2.5 in place of 2.9 in training. TensorFlow keeps it anyway.

Measure such a variable by setting it before `yes | head -8 | python benchmarks/speed_side.py vit_keras_zoo "XLA off" vit_small_patch16_224 \
training float32 16 12`, which prints the seconds of eight steps; `KERAS_BACKEND` chooses the backend.
"""


def read(name: str) -> list[dict[str, Any]]:
    """Returns a benchmark's results, one for each kind of processor that it ran on."""
    return [json.loads(path.read_text("utf-8")) for path in sorted(RESULTS.glob(f"*/{name}.json"))]


def describe_machine(result: dict[str, Any]) -> str:
    """Returns how, when and where a result was measured."""
    found = result["environment"]
    versions = ", ".join(
        f"{name} {version}"
        for name, version in found["versions"].items()
        if name in ("keras", "tensorflow", "jax", "torch")
    )
    return f"`{result['command']}`, {result['date']}, {found['processor']}, {found['cores']} cores, Python {found['python']}, {versions}."


def section(result: dict[str, Any], text: str, heads: list[str], rows: list[list[str]]) -> str:
    """Returns the machine, a text and a Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{describe_machine(result)} {text}".rstrip() + f"\n\n{table}\n"


def ratio(found: dict[str, float]) -> str:
    """Returns a median with its range."""
    return f"{found['median']:.2f} ({found['low']:.2f} to {found['high']:.2f})"


def label(cell: dict[str, Any]) -> str:
    """Returns the preset, batch size and dtype of a measurement."""
    return f"`{cell['preset']}`, batch {cell['batch_size']}, {cell['policy'].removeprefix('mixed_')}"


def write_peers(result: dict[str, Any]) -> str:
    """Returns images per second of all libraries."""
    rows = []
    for cell, found in result["results"].items():
        preset, kind, dtype = cell.split(", ")
        libraries = found["libraries"]
        row = [f"{'S/16' if 'small' in preset else 'B/16'} {kind}, {dtype}"]
        for name in LIBRARIES:
            star = "*" if name in found["unreliable"] else ""
            measured = libraries.get(name)
            row.append(
                f"{measured['images_per_second']['median']:.1f}{star} ({measured['setting']})" if measured else ""
            )
        fastest = max(
            (name for name in libraries if name != "vit_keras_zoo"),
            key=lambda name: libraries[name]["images_per_second"]["median"],
            default=None,
        )
        row.append(ratio(libraries[fastest]["ours_is_faster"]) if fastest else "")
        rows.append([*row, f"{libraries['vit_keras_zoo']['share_of_matmul_rate']:.0%}"])
    heads = ["images per second", *LIBRARIES.values(), "relative to the fastest other", "of a matrix product's rate"]
    return section(result, f"Batch {result['batch_size']}, {result['num_layers']} layers.", heads, rows)


def write_small_models(result: dict[str, Any]) -> str:
    """Returns small models compared with plain Keras layers and timm."""
    names = {"vit_keras_zoo": "vit_keras", "keras": "plain Keras layers", "timm": "timm"}
    rows = []
    for cell in result["cells"]:
        libraries = cell["libraries"]
        stars = {library: "*" if library in cell["unreliable"] else "" for library in libraries}
        rates = {
            library: f"{row['images_per_second']['median']:,.0f}{stars[library]} ({row['setting']})"
            for library, row in libraries.items()
        }
        rows.append(
            [
                f"`{cell['preset']}`, {cell['params'] / 1e6:.2f} M, {cell['tokens']} tokens, {cell['dtype']}",
                *(rates.get(library, "") for library in names),
                *(
                    ratio(libraries[library]["ours_is_faster"]) if library in libraries else ""
                    for library in ("keras", "timm")
                ),
                f"{cell['share_of_matmul_rate']:.0%}",
            ]
        )
    heads = [
        "training, images per second",
        *names.values(),
        "relative to plain Keras",
        "relative to timm",
        "of a matrix product's rate",
    ]
    return section(result, f"Batch {result['cells'][0]['batch_size']}.", heads, rows)


def write_cold_start(result: dict[str, Any]) -> str:
    """Returns the seconds to the first trained batch."""
    rows = [
        [way, *(f"{found[part]['median']:.1f}" for part in ("import", "build", "first_batch", "all"))]
        for way, found in result["seconds"].items()
    ]
    text = f"`{result['preset']}`, batch {result['batch_size']}."
    return section(result, text, ["seconds", "imports", "model", "first batch", "all"], rows)


def write_commands(result: dict[str, Any]) -> str:
    """Returns the processor seconds of whole processes, compared with the least scripts that do the same."""
    rows = []
    for kind, unit in (("over_least_imports", " s more"), ("over_plain_keras", " times")):
        for name, found in result[kind].items():
            command, clock = name.rsplit(", ", 1)
            if clock == "processor":
                rows.append(
                    [f"`vit-keras {command}`", f"{result['seconds'][name]['median']:.2f}", f"{ratio(found)}{unit}"]
                )
    text = (
        "Processor time. Lists are compared with `import typer, rich`, `predict` and `explain` with a script of plain Keras layers, and the "
        "first step of the demo, `train`, with that of such a script."
    )
    return section(result, text, ["command", "seconds", "than the least script"], rows)


def write_memory(result: dict[str, Any]) -> str:
    """Returns the peak memory of training, and the longest sequences."""
    sides = list(next(iter(result["results"].values()))["peak_gb"]["kept"])
    rows = []
    for cell, found in result["results"].items():
        preset, dtype = cell.split(", ")
        for recomputed, peaks in found["peak_gb"].items():
            numbers = ["failed" if isinstance(peaks.get(side, ""), str) else f"{peaks[side]:.2f}" for side in sides]
            kept = "" if recomputed == "kept" else ", recomputed"
            rows.append([f"{'S/16' if 'small' in preset else 'B/16'}, {dtype}{kept}", *numbers])
    for recomputed in ("kept", "remat"):
        longest = [result["longest"].get(f"{side}, {recomputed}", {}).get("longest") for side in sides]
        if any(longest):
            kept = "" if recomputed == "kept" else ", recomputed"
            tokens = [f"{found['tokens']:,}" if found else "" for found in longest]
            rows.append([f"tokens of one image in {result['limit_gb']:g} GB, S/16, float32{kept}", *tokens])
    text = "Peak resident memory of two training steps less that after the imports, batch 16; the tokens follow from three sizes."
    return section(result, text, ["GB", *sides], rows)


def write_fused(result: dict[str, Any]) -> str:
    """Returns the effect of fused activations and norms."""
    rows = [[label(cell), ratio(cell["fused_is_faster"])] for cell in result["cells"]]
    text = "The MLP's activation and the norms as one loop each, forward and backward, compared with TensorFlow's own operations:"
    return section(result, text, ["training", "fused is faster"], rows)


def write_scan(result: dict[str, Any]) -> str:
    """Returns why the blocks are not scanned."""
    rows = [
        [
            f"`{cell['preset']}`, {cell['num_layers']} blocks",
            *(f"{cell['seconds_to_compile'][kind]:.1f} s" for kind in ("compiled", "scanned")),
            *(ratio(cell["steps_faster"][kind]) for kind in ("scanned", "stacking_left_out")),
        ]
        for cell in result["cells"]
    ]
    heads = ["JAX", "compiling all blocks", "compiling a scan", "the scan's step is faster", "the same, stacked before"]
    return section(result, f"Batch {result['cells'][0]['batch_size']}, float32.", heads, rows)


def write_scaling(result: dict[str, Any]) -> str:
    """Returns the growth of time and memory with tokens, depth and batch."""
    rows = []
    for kind in ("inference", "training"):
        for what, found in result.get(kind, {}).items():
            first, last = next(iter(found["points"])), list(found["points"])[-1]
            point = found["points"][last]
            powers = [found["growth"][name] for name in ("seconds", "peak_bytes_risen")]
            time, memory = (f"{power:.2f}" if power and power > 0 else "" for power in powers)
            peak = f"{point['peak_bytes_risen'] / 2**20:,.0f} MiB"
            rows.append([f"{kind}, {what} {first} to {last}", f"{point['seconds']:.2f} s", time, peak, memory])
    heads = [
        result["environment"]["backend"],
        "time of the largest",
        "exponent of time",
        "memory",
        "exponent of memory",
    ]
    return section(result, f"S/16 with {result['num_layers']} layers.", heads, rows)


def write_gpu(result: dict[str, Any]) -> str:
    """Returns the results on a GPU."""
    rows = []
    for part in result["parts"]:
        for kind in ("training", "inference"):
            if kind in part:
                row = part[kind]
                share = row.get("model_flops_utilisation") or row.get("of_matmul_rate")
                rate = f"{row['images_per_second']:,.0f}"
                rows.append([" ".join(part["part"]), kind, rate, f"{share:.0%}" if share else ""])
    return section(result, "", ["part", "kind", "images per second", "of the peak"], rows)


def write_page() -> str:
    """Returns the page."""
    titles = {
        "speed": ("Compared with other libraries, on a CPU", lambda found: f"{write_peers(found)}\n{PEERS_NOTE}"),
        "speed_jax": ("On JAX, on a CPU", write_peers),
        "speed_torch": ("On torch, on a CPU", write_peers),
        "small_models": ("Small models on a CPU", write_small_models),
        "memory": ("Memory of training", write_memory),
        "fused": ("Fused activations and norms in training, TensorFlow", write_fused),
        "scan": ("A scan over the blocks, which is not used", write_scan),
        "cold_start": ("From an empty process to the first trained batch", write_cold_start),
        "command_start": ("Commands, from start to end", write_commands),
        "scaling_*": ("Growth with tokens, depth and batch", write_scaling),
    }
    parts = [HEAD]
    for name, (title, write) in titles.items():
        if found := read(name):
            parts.append("\n".join([f"## {title}\n", *map(write, found)]))
    parts += [f"## {found['parts'][0]['device']}\n\n{write_gpu(found)}" for found in read("gpu_*")] or [NO_GPU]
    return "\n".join([*parts, REASONS, MATRIX_UNITS])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        sys.exit(
            PAGE.read_text("utf-8") != write_page()
            and "docs/speed.md does not match benchmarks/results: run scripts/write_speed_page.py"
        )
    PAGE.write_text(write_page(), "utf-8")
