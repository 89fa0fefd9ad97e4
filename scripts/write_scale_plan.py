"""Writes the plan of ViT-H/14 on 64 GPUs into docs/scale.md, computed from the bytes that benchmarks/devices.py measured.

    python scripts/write_scale_plan.py [--check]

`--check` writes nothing and exits with 1 where the page does not match the results.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULT, PAGE = ROOT / "benchmarks" / "results" / "intel_xeon_amx" / "devices.json", ROOT / "docs" / "scale.md"
START, END = "<!-- written by scripts/write_scale_plan.py -->\n", "<!-- end -->\n"
PRESET, NAME, BATCH, HOSTS, GPUS_EACH = "vit_huge_patch14_224", "H/14", 4096, 8, 8
PASSES = (
    4  # forward, twice that backward, and forward once more, since remat="block" keeps no activations inside blocks
)


@dataclass(frozen=True)
class Hardware:
    """What a GPU and its links are said to do.

    Args:
        flops: Of a GPU in bfloat16, without sparsity, per second.
        utilization: Fraction of that which a training step reaches.
        network: Bytes per second that a GPU sends to other hosts.
        memory: Bytes of a GPU.
    """

    flops: float = 989.4e12
    utilization: float = 0.4
    network: float = 400e9 / 8
    memory: float = 80e9


@dataclass(frozen=True)
class Costs:
    """What an image costs.

    Args:
        macs: Multiply-adds of its forward pass.
        activation_bytes: That training keeps of it.
        num_layers: Blocks of the model.
    """

    macs: float
    activation_bytes: float
    num_layers: int


@dataclass(frozen=True)
class Plan:
    """The numbers of one distribution.

    Args:
        state: Weights and optimizer state of a device, bytes.
        memory: All of a device, bytes.
        sent: Bytes that a device sends in a step.
        seconds: Of a step's products, and of what is sent where nothing overlaps.
    """

    state: float
    memory: float
    sent: float
    seconds: tuple[float, float]

    @property
    def share(self) -> float:
        """Fraction of a step that waits for the network where nothing overlaps."""
        return self.seconds[1] / sum(self.seconds)


def make_plan(
    how: str, cells: list[dict[str, Any]], *, costs: Costs, hardware: Hardware, batch: int, devices: int
) -> Plan:
    """Returns the plan of a distribution, "data" or "fsdp".

    Args:
        how: The distribution.
        cells: Of the preset, as `benchmarks/devices.py` records them: on one device, and divided among several.
        costs: Of the model.
        hardware: The GPUs and their links.
        batch: Images of all devices.
        devices: GPUs.
    """
    one = next(cell for cell in cells if cell["devices"] == 1)
    several = max((cell for cell in cells if cell["distribution"] == "fsdp"), key=lambda cell: cell["devices"])
    images, gradients = batch / devices, float(one["gradients"])
    state, kept, gathered = float(one["state"]), gradients, 0.0
    sent = 2 * gradients * (devices - 1) / devices  # each sum goes around once in parts, and once whole
    if how == "fsdp":
        state, kept = (divide(one[name], several[name], several["devices"], devices) for name in ("state", "gradients"))
        gathered = 2 * one["weights"] / costs.num_layers  # those of a block, while the next ones arrive
        sent = 3 * gradients * (devices - 1) / devices  # weights forward and backward, gradients once
    memory = state + kept + gathered + images * costs.activation_bytes
    compute = 2 * PASSES * costs.macs * images / (hardware.flops * hardware.utilization)
    return Plan(state, memory, sent, (compute, sent / hardware.network))


def divide(whole: float, part: float, count: int, devices: int) -> float:
    """Returns the bytes of a device of `devices`, given all of them and the bytes of a device of `count`: small weights stay whole.

    >>> divide(100.0, 28.0, 4, 64)
    5.5
    """
    divided = (whole - part) * count / (count - 1)
    return whole - divided + divided / devices


def write_section(result: dict[str, Any]) -> str:
    """Returns the section of the page."""
    import vit_keras as vk

    cells = [cell for cell in result["compiled"] if cell["preset"] == PRESET]
    hardware, devices = Hardware(), HOSTS * GPUS_EACH
    config = vk.load_preset(PRESET).config.replace(remat="block")
    costs = Costs(config.num_macs, config.activation_bytes(4), config.num_layers)
    plans = {
        how: make_plan(how, cells, costs=costs, hardware=hardware, batch=BATCH, devices=devices)
        for how in ("data", "fsdp")
    }
    four = next(cell for cell in cells if cell["distribution"] == "fsdp" and cell["devices"] == 4)
    rows = {
        "weights and optimizer state per GPU": [f"{plan.state / 1e9:.2f} GB" for plan in plans.values()],
        "memory per GPU": [f"{plan.memory / 1e9:.1f} GB" for plan in plans.values()],
        "each GPU sends per step": [f"{plan.sent / 1e9:.2f} GB" for plan in plans.values()],
        "products per step": [f"{plan.seconds[0] * 1e3:.0f} ms" for plan in plans.values()],
        "network per step": [f"{plan.seconds[1] * 1e3:.0f} ms" for plan in plans.values()],
        "waiting for the network, at most": [f"{plan.share:.0%}" for plan in plans.values()],
    }
    table = "\n".join(f"| {name} | {' | '.join(values)} |" for name, values in rows.items())
    return f"""\
On 4 devices, weights, gradients and optimizer state of {NAME} take {four["share"]:.1%} of what they take on one
(`python benchmarks/devices.py`, {result["date"]}: bytes that the compiler states, on virtual devices of a CPU).

**{NAME} on {devices} GPUs, {HOSTS} hosts with {GPUS_EACH} each: a plan, which was not run.** Batch {BATCH:,}, {BATCH // devices} images per GPU, `remat="block"`.

| | `distribution="data"` | `distribution="fsdp"` |
|---|---|---|
{table}

* Memory: weights, gradients and optimizer state in float32 as compiled, and {costs.activation_bytes / 1e6:.0f} MB of activations per image by the library's cost model, in
  float32, too. Workspace of the kernels is not counted. An H100 has {hardware.memory / 1e9:.0f} GB.
* Products: {costs.macs / 1e9:.0f} GMACs per image and forward pass, {PASSES} passes' worth, at {hardware.utilization:.0%} of {hardware.flops / 1e12:.0f} TFLOP/s (H100, bfloat16). The utilization is assumed:
  none was measured on such a GPU.
* Network: float32 gradients, at the {hardware.network / 1e9:.0f} GB/s of one 400 Gb/s adapter per GPU, as in a DGX H100; links inside a host, 900 GB/s in both
  directions, are faster and not counted. Nothing overlaps with the products: the real share is lower.
* Sources: [MLCommons' description of an 8-GPU system](https://raw.githubusercontent.com/mlcommons/inference_results_v4.1/main/closed/NVIDIA/systems/H200-SXM-141GBx8_TRT_MaxQ.json)
  (adapters, NVLink), [NVIDIA's H100](https://www.nvidia.com/en-us/data-center/h100/) (peak and memory).
"""


def main() -> int:
    """Writes or checks the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    text = PAGE.read_text("utf-8")
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    written = before + START + write_section(json.loads(RESULT.read_text("utf-8"))) + END + after
    if check:
        return int(written != text)
    PAGE.write_text(written, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
