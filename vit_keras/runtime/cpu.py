"""What the processor says of itself."""

import functools
import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


@functools.cache
def _facts() -> dict[str, str]:
    """Returns what Linux lists of the first core; nothing elsewhere."""
    lines = _CPUINFO.read_text().split("\n\n")[0].splitlines() if _CPUINFO.is_file() else []
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def processor_name() -> str:
    """Returns the processor's model, in its maker's words; an empty word where the system doesn't say."""
    return _facts().get("model name") or platform.processor()


def instruction_sets() -> frozenset[str]:
    """Returns the flags of the instructions it has, as Linux spells them, such as "avx512_bf16"; none on other systems."""
    return frozenset((_facts().get("flags") or "").split())
