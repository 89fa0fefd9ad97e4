"""The plan of a large model in docs/scale.md."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "write_scale_plan.py"

pytestmark = pytest.mark.any_backend


def load_script():
    spec = importlib.util.spec_from_file_location("write_scale_plan", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look
    spec.loader.exec_module(module)
    return module


def test_the_numbers_follow_from_the_measured_bytes():
    script = load_script()
    cells = [
        {"distribution": "one device", "devices": 1, "weights": 400, "state": 1200, "gradients": 400},
        {"distribution": "fsdp", "devices": 4, "weights": 115, "state": 345, "gradients": 115},
        {"distribution": "fsdp", "devices": 8, "weights": 67.5, "state": 202.5, "gradients": 67.5},
    ]  # 20 of the weights, and 60 of the state, are never divided
    costs = script.Costs(macs=1000, activation_bytes=10, num_layers=4)
    options = {
        "costs": costs,
        "hardware": script.Hardware(flops=1e6, utilization=0.5, network=100.0),
        "batch": 64,
        "devices": 2,
    }
    data = script.make_plan("data", cells, **options)
    assert (data.state, data.memory, data.sent) == (1200, 1200 + 400 + 32 * 10, 400)  # 2 * 400 / 2
    assert data.seconds == (2 * 4 * 1000 * 32 / 5e5, 4.0)
    assert data.share == 4 / (4 + 0.512)
    fsdp = script.make_plan("fsdp", cells, **options)
    assert (fsdp.state, fsdp.sent) == (60 + 1140 / 2, 600)
    assert fsdp.memory == (60 + 1140 / 2) + (20 + 380 / 2) + 2 * 400 / 4 + 32 * 10


@pytest.mark.slow
def test_the_page_has_the_numbers_of_the_results():
    assert subprocess.run([sys.executable, str(SCRIPT), "--check"], check=False).returncode == 0
