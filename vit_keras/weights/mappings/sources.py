"""All mapping tables, and the choice of a file's table."""

from collections.abc import Iterable

from vit_keras.errors import InvalidArgumentError, WeightMismatchError
from vit_keras.validation import closest
from vit_keras.weights.mappings.google import GOOGLE
from vit_keras.weights.mappings.huggingface import HF_CLIP, HF_DINOV2, HF_DINOV3, HF_SIGLIP, HF_VIT
from vit_keras.weights.mappings.meta import META, META_PLAIN, OPENAI_CLIP
from vit_keras.weights.mappings.native import NATIVE
from vit_keras.weights.mappings.tables import Table
from vit_keras.weights.mappings.timm import TIMM, TIMM_PARALLEL

TABLES = (
    NATIVE, GOOGLE, HF_VIT, HF_DINOV2, HF_DINOV3, HF_CLIP, HF_SIGLIP, OPENAI_CLIP, META, TIMM, TIMM_PARALLEL, META_PLAIN,
)  # fmt: skip
"""A file's names are compared with these in order: the more specific tables come first."""

SOURCES = tuple(dict.fromkeys(table.source for table in TABLES))


def find_table(names: Iterable[str], source: str = "auto", *, path: object = "the file") -> Table:
    """Returns the table of a file."""
    if source != "auto" and source not in SOURCES:
        hint = closest(source, SOURCES, count=1)
        raise InvalidArgumentError(
            f"source={source!r} is none of {['auto', *SOURCES]}" + (f" (did you mean {hint[0]!r}?)." if hint else ".")
        )
    names = list(names)
    fitting = [table for table in TABLES if table.fits(names)]
    for table in fitting:
        if source in ("auto", table.source):
            return table
    examples = f"It has {len(names)} tensors, such as {sorted(names)[:5]}."
    if fitting:
        raise WeightMismatchError(
            f'{path}: this is no file of source="{source}" but looks like one of "{fitting[0].source}": {fitting[0].title}. {examples}'
        )
    raise WeightMismatchError(
        f"{path}: these tensor names are of no Vision Transformer that can be read ({', '.join(SOURCES)}). {examples}"
    )
