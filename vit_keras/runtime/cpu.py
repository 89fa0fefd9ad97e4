"""Facts about the processor."""

import functools
import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")


@functools.cache
def _read_cpuinfo() -> dict[str, str]:
    """Returns Linux' facts about the first core; nothing on other systems."""
    lines = _CPUINFO.read_text().split("\n\n")[0].splitlines() if _CPUINFO.is_file() else []
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def processor_name() -> str:
    """Returns the processor's model name; an empty string where the system doesn't tell."""
    return _read_cpuinfo().get("model name") or platform.processor()


def instruction_sets() -> frozenset[str]:
    """Returns the processor's instruction sets in Linux' spelling, such as "avx512_bf16"; none on other systems."""
    return frozenset(_read_cpuinfo().get("flags", "").split())
