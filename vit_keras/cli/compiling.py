"""Where compiled programs are kept from one command to the next."""

import hashlib
import os
import platform

from vit_keras.runtime.cpu import instruction_sets


def keep_compiled() -> None:
    """Lets JAX, in this process and those it starts, keep compiled programs where downloads are kept: the next start of the same is faster.

    Programs for a CPU are for its very instructions, so each kind of processor has a folder of its own. JAX's own variables win.
    """
    from vit_keras.runtime.cache import cache_folder

    kind = " ".join(sorted(instruction_sets())) or platform.processor()
    folder = cache_folder() / "compiled" / hashlib.sha256(kind.encode()).hexdigest()[:12]
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")
