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
    one = {"distribution": "one device", "devices": 1, "state": 1200, "gradients": 400}
    cells = [
        {**one, "batch_size": 16, "transient": 1000 + 16 * 10},
        {**one, "batch_size": 32, "transient": 1000 + 32 * 10},
        {"distribution": "fsdp", "devices": 8, "batch_size": 16, "state": 325, "transient": 500 + 2 * 10},
    ]
    hardware = script.Hardware(flops=1e6, utilization=0.5, network=100.0)
    options = {"macs": 1000, "hardware": hardware, "batch": 64, "devices": 4}
    data = script.make_plan("data", cells, **options)
    assert (data.state, data.memory, data.sent) == (1200, 1200 + 1000 + 16 * 10, 600)  # 2 * 400 * 3 / 4
    assert data.seconds == (2 * 4 * 1000 * 16 / 5e5, 6.0)
    assert data.share == 6 / (6 + 0.256)
    fsdp = script.make_plan("fsdp", cells, **options)
    assert (fsdp.state, fsdp.sent) == (200 + 1000 / 4, 900)  # 200 of the state is never divided
    assert fsdp.memory == 450 + 500 + 160


@pytest.mark.slow
def test_the_page_has_the_numbers_of_the_results():
    assert subprocess.run([sys.executable, str(SCRIPT), "--check"], check=False).returncode == 0
