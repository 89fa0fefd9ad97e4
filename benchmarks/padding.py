"""Whether tokens padded to a rounder number make a step faster, on the backend of `KERAS_BACKEND`.

    KERAS_BACKEND=tensorflow python benchmarks/padding.py [--preset vit_small_patch16_224] [--batch-size 8] [--rounds 8] [--quick]

The padding is registers: tokens that take part, so that no mask costs anything and a gain is what padding could give at most.
`padded_is_faster` is the time without over the time with it, round by round.
"""

import argparse
import os
from pathlib import Path
from typing import Any

import harness

import vit_keras as vk

MULTIPLES = (8, 16, 32, 64)

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="vit_small_patch16_224")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--quick", action="store_true", help="one round of a small preset")
    options = parser.parse_args()
    preset, rounds = ("vit_pico_patch4_28", 1) if options.quick else (options.preset, options.rounds)
    tokens = vk.load_preset(preset).config.num_tokens
    counts = sorted({tokens, *(-(-tokens // multiple) * multiple for multiple in MULTIPLES)})
    steps = {
        count: harness.keras_steps(
            vk.from_preset(preset, num_classes=10, num_registers=count - tokens), options.batch_size
        )
        for count in counts
    }
    result: dict[str, Any] = {"preset": preset, "batch_size": options.batch_size, "tokens": tokens}
    for kind in ("training", "inference"):
        seconds = harness.interleaved({str(count): both[kind] for count, both in steps.items()}, rounds=rounds)
        whole = seconds[str(tokens)]
        result[kind] = {
            count: {
                "seconds": harness.spread(times),
                "padded_is_faster": harness.spread([own / padded for own, padded in zip(whole, times, strict=True)]),
            }
            for count, times in seconds.items()
        }
        print({count: row["padded_is_faster"] for count, row in result[kind].items()}, flush=True)
    backend = Path(os.environ.get("KERAS_BACKEND", "tensorflow")).name
    harness.record(f"padding_{backend}", result, quick=options.quick)
