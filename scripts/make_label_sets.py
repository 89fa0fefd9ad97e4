"""Makes `vit_keras/presets/imagenet.tsv.gz` from the tables of timm, to the byte, and prints the digests that a test expects.

    pip install --no-deps timm==1.0.31
    python scripts/make_label_sets.py PATH_OF_TIMM

A row per WordNet synset, sorted: its id, the numbers of the label sets that have it (positions in `LABEL_SETS`), and its lemmas. A label
set lists its synsets in this order, as the outputs of checkpoints do.
"""

import gzip
import hashlib
import sys
from pathlib import Path

from vit_keras.presets.label_sets import LABEL_SETS, TABLE

FILES = {
    "imagenet-1k": "imagenet_synsets.txt",
    "imagenet-12k": "imagenet12k_synsets.txt",
    "imagenet-21k": "imagenet21k_goog_synsets.txt",
    "imagenet-22k": "imagenet22k_synsets.txt",
    "imagenet-21k-miil": "imagenet21k_miil_synsets.txt",
}


def main(timm: Path) -> None:
    """Writes the table."""
    folder = timm / "data" / "_info"
    lemmas = dict(
        line.split("\t") for line in (folder / "imagenet_synset_to_lemma.txt").read_text("utf-8").splitlines()
    )
    synsets = {name: (folder / FILES[name]).read_text("utf-8").split() for name in LABEL_SETS}
    for name, ids in synsets.items():
        if ids != sorted(ids):
            sys.exit(f"{name} is not sorted by synset: the table can't hold its order.")
        descriptions = "\n".join(lemmas[each] for each in ids)
        print(name, *(hashlib.sha256(text.encode()).hexdigest()[:16] for text in ("\n".join(ids), descriptions)))
    members = {name: set(ids) for name, ids in synsets.items()}
    rows = [
        "\t".join(
            (each, "".join(str(place) for place, name in enumerate(members) if each in members[name]), lemmas[each])
        )
        for each in sorted(set().union(*members.values()))
    ]
    target = Path(__file__).parents[1] / "vit_keras" / "presets" / TABLE
    target.write_bytes(gzip.compress("\n".join(rows).encode(), 9, mtime=0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
