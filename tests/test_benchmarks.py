import importlib.metadata
import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command, **given):
    return subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False, **given)


def test_each_benchmark_is_listed_with_what_it_measures():
    listed = run("-m", "benchmarks", "--list").stdout.splitlines()
    named = {line.split()[0] for line in listed}
    helpers = {
        "__main__", "finetune_backbones", "finetune_cells", "finetune_check", "finetune_engine", "finetune_methods", "finetune_runs", "gpu_parts",
        "harness", "img_focus", "photos", "small_models_side", "speed_side",
    }  # fmt: skip
    assert {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - helpers == named
    readme = (ROOT / "benchmarks" / "README.md").read_text("utf-8")
    assert [name for name in named if f"{name}.py" not in readme] == []
    wrong = run("-m", "benchmarks", "nothing")
    assert wrong.returncode == 2
    assert "there is no benchmark nothing" in wrong.stderr


def test_a_peer_that_is_too_old_is_refused_and_the_version_to_install_named(monkeypatch):
    version_of = runpy.run_path(str(ROOT / "benchmarks" / "speed_side.py"))["version_of"]
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.9.16")
    with pytest.raises(RuntimeError, match=r"timm 0\.9\.16 is too old to be compared with: pip install 'timm>=1\.0'"):
        version_of("timm")
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "1.0.31")
    assert version_of("timm") == "1.0.31"


def test_the_speed_page_matches_the_results():
    assert run("scripts/write_speed_page.py", "--check").returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [
        ("speed",),
        ("gpu",),
        ("cold_start", "small_models"),
        ("fused", "scan", "devices"),
        ("scaling", "memory", "attention_forms"),
    ],
)
def test_benchmarks_run_small(names):
    before = {path: path.read_bytes() for path in (ROOT / "benchmarks" / "results").rglob("*.json")}
    done = run("-m", "benchmarks", *names, "--quick", "--json", timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    outcomes = json.loads(done.stdout)
    assert {name: row["code"] for name, row in outcomes.items()} == dict.fromkeys(names, 0)
    assert {path: path.read_bytes() for path in (ROOT / "benchmarks" / "results").rglob("*.json")} == before
