import importlib.util
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "resume.py"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_a_run_killed_again_and_again_ends_in_the_bits_of_one_that_was_not(backend):
    spec = importlib.util.spec_from_file_location("resume", BENCHMARK)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    result = benchmark.measure(3, backend, seed=1)
    assert result["different"] == []
    assert len(result["killed_after_seconds"]) == 3
    assert any(name.startswith("step-") for name in result["newest_checkpoint_after_each"])
