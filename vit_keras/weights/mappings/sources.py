"""All mapping tables, and the choice of a file's table."""

from collections.abc import Iterable
from dataclasses import replace

from vit_keras.errors import InvalidArgumentError, WeightMismatchError
from vit_keras.validation import closest, list_words
from vit_keras.weights.mappings.libraries.google import GOOGLE
from vit_keras.weights.mappings.libraries.huggingface import (
    AIMV2,
    HF_AIMV2,
    HF_BEIT,
    HF_CLIP,
    HF_DINOV2,
    HF_DINOV3,
    HF_INTERNVL,
    HF_SIGLIP,
    HF_VIT,
)
from vit_keras.weights.mappings.libraries.jeonsworld import JEONSWORLD
from vit_keras.weights.mappings.libraries.keras_hub import KERAS_HUB
from vit_keras.weights.mappings.libraries.lucidrains import LUCIDRAINS
from vit_keras.weights.mappings.libraries.meta import (
    EVA_02,
    META,
    META_MOCO,
    META_PLAIN,
    META_TRAINING,
    OPENAI_CLIP,
    PERCEPTION,
    PERCEPTION_CORE,
)
from vit_keras.weights.mappings.libraries.microsoft import BEIT3
from vit_keras.weights.mappings.libraries.mmpretrain import MMPRETRAIN
from vit_keras.weights.mappings.libraries.native import NATIVE
from vit_keras.weights.mappings.libraries.radio import HF_RADIO
from vit_keras.weights.mappings.libraries.timm import BEIT, TIMM, TIMM_NAFLEX, TIMM_PARALLEL
from vit_keras.weights.mappings.libraries.torchvision import TORCHVISION
from vit_keras.weights.mappings.prefixes import choose_prefix, find_prefixes
from vit_keras.weights.mappings.tables import Table, unwrap

TABLES = (
    NATIVE, GOOGLE, HF_RADIO, HF_INTERNVL, HF_BEIT, HF_VIT, HF_AIMV2, AIMV2, HF_DINOV2, HF_DINOV3, HF_CLIP, HF_SIGLIP, PERCEPTION_CORE,
    OPENAI_CLIP, PERCEPTION, BEIT3, BEIT, EVA_02, META, META_TRAINING, META_MOCO, TIMM, TIMM_PARALLEL, TIMM_NAFLEX, META_PLAIN, TORCHVISION,
    KERAS_HUB, LUCIDRAINS, JEONSWORLD, MMPRETRAIN,
)  # fmt: skip
"""A file's names are compared with these in order: the more specific tables come first."""

SOURCES = tuple(dict.fromkeys(table.source for table in TABLES))


def find_table(
    names: Iterable[str], source: str = "auto", *, prefix: str | None = None, path: object = "the file"
) -> Table:
    """Returns the table of a file, with the prefix that the file puts in front of the names.

    Args:
        names: All names of the file's tensors.
        source: The library whose names they are, or "auto" to detect it.
        prefix: Which of several models in the file; None to find it. Of several, that of averaged weights is the default.
        path: The file, for messages.

    Raises:
        InvalidArgumentError: There is no such source, or several models, or none with the given prefix.
        WeightMismatchError: The names are of no Vision Transformer that can be read.

    Example:
        >>> names = ["patch_embed.proj.weight", "blocks.0.norm1.weight"]
        >>> table = find_table([f"{prefix}.{name}" for name in names for prefix in ("student.backbone", "teacher.backbone")])
        >>> table.source, table.prefix, table.other_prefixes
        ('meta', 'teacher.backbone.', ('student.backbone.',))
    """
    if source != "auto" and source not in SOURCES:
        hint = closest(source, SOURCES, count=1)
        raise InvalidArgumentError(
            f"source={source!r} is none of {list_words(['auto', *SOURCES])}"
            + (f" (did you mean {hint[0]!r}?)." if hint else ".")
        )
    names = list(names)
    found = find_prefixes(tuple(unwrap(name) for name in names), TABLES)
    fitting = {
        start: table
        for start, tables in found.items()
        for table in [next((table for table in tables if source in ("auto", table.source)), None)]
        if table is not None
    }
    if fitting:
        chosen = choose_prefix(list(fitting), prefix, path=path)
        others = tuple(start for start in fitting if start != chosen)
        table = fitting[chosen]
        return replace(table, prefix=chosen, other_prefixes=others) if chosen or others else table
    examples = f"It has {len(names)} tensors, such as {list_words(sorted(names)[:5])}."
    if found:
        looks = next(iter(found.values()))[0]
        raise WeightMismatchError(
            f'{path}: this is no file of source="{source}" but looks like one of "{looks.source}": {looks.title}. {examples}'
        )
    raise WeightMismatchError(
        f"{path}: these tensor names are of no Vision Transformer that can be read ({', '.join(SOURCES)}). {examples}"
    )
