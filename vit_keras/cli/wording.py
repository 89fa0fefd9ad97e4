"""Words messages of the library for the command line: flags in place of Python's arguments, the program as it was started."""

import re
import shlex
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_NAME = "vit-keras"
_VALUE = r"(\"[^\"]*\"|'[^']*'|\([^()]*\)|[\w./-]*\w|\.\.\.)"


def program() -> str:
    """Returns the words that start this program from where the user stands: `vit-keras`, or its path where that is not found."""
    started = Path(sys.argv[0])
    if started.stem != _NAME:  # called as a function
        return _NAME
    found = shutil.which(_NAME)
    if found is not None and started.exists() and Path(found).samefile(started):
        return _NAME
    return shlex.quote(str(started))


def name_program(message: str) -> str:
    """Returns a message with the program of its command lines as it was started."""
    words = program()
    return message if words == _NAME else re.sub(r"(?<![\w/.-])vit-keras (?=[a-z-])", lambda _: f"{words} ", message)


def name_flags(message: str, parameters: Iterable[Any]) -> str:
    """Returns a message with the flags of a command, `parameters`, in place of Python's arguments.

    "pass image_size, such as image_size=224" becomes "pass --image-size, such as --image-size 224". Words without an underscore are
    too common to be replaced, but for `name=value` and "name must be".
    """
    message = re.sub(r"ReadOptions\(((?:\w+=[^()]+)+)\)", r"\1", message)
    for each in parameters:
        if each.param_type_name != "option":
            continue
        name, flag = each.opts[0].lstrip("-").replace("-", "_"), each.opts[0]
        if each.is_flag:
            message = re.sub(rf"\b{name}=True\b", flag, message)
        else:
            message = re.sub(rf"(?<![\w.-]){name}={_VALUE}", rf"{flag} \1", message)
        if "_" in name:
            message = re.sub(rf"(?<![\w./'\"=-]){name}(?![\w=(/'\"]|\.\w)", flag, message)
        else:
            message = re.sub(rf"(^|[;:] ){name}(?= must\b)", rf"\1{flag}", message)
    return message
