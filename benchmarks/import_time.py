"""The time that `import vit_keras` adds to `import keras`, in new processes, in turns.

    python benchmarks/import_time.py [--rounds 7]

The difference of two processes is as noisy as Keras' own import, so the time of `import vit_keras` after `import keras` is measured, too. The
longer import also loads what a user's first line needs: presets, the model builder and the layers.
"""

import argparse
import subprocess
import sys

import harness

PROGRAMS = {
    "import keras": "import keras",
    "import keras, vit_keras": "import keras, vit_keras",
    "import keras, vit_keras; vit_keras.from_preset": "import keras, vit_keras; vit_keras.from_preset",
    "import vit_keras; vit_keras.preset_info": "import vit_keras; vit_keras.preset_info",
}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds

    def timed(program: str) -> float:
        """Returns the seconds of the imports without the start of the interpreter."""
        code = f"import time; start = time.perf_counter(); {program}; print(time.perf_counter() - start)"
        command = [sys.executable, "-c", code]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])

    def added() -> float:
        """Returns the seconds of `import vit_keras` after `import keras`."""
        code = "import keras, time; start = time.perf_counter(); import vit_keras; print(time.perf_counter() - start)"
        return float(
            subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()[-1]
        )

    after_keras = [added() for _ in range(rounds + 1)][1:]
    seconds: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for _ in range(rounds + 1):
        for name, program in PROGRAMS.items():
            seconds[name].append(timed(program))
    kept = {name: values[1:] for name, values in seconds.items()}  # the first round fills the file cache
    over = [ours - keras for ours, keras in zip(kept["import keras, vit_keras"], kept["import keras"], strict=True)]
    harness.record(
        "import_time",
        {
            "seconds": {name: harness.spread(values) for name, values in kept.items()},
            "over_import_keras": harness.spread(over),
            "after_import_keras": harness.spread(after_keras),
        },
    )
