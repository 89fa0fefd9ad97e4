"""Runs the cells of a page in one process, as a notebook does: `python run_cells.py PAGE`. The last line is what the values of cells show."""

import ast
import json
import re
import sys
from pathlib import Path


def run_cell(code, namespace):
    """Runs a cell, and returns the value that a notebook would show, or None."""
    tree = ast.parse(re.sub(r"\A(?::.*\n)+", "", code))
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), namespace)
    return None if last is None else eval(compile(ast.Expression(last.value), "cell", "eval"), namespace)


if __name__ == "__main__":
    text = Path(sys.argv[1]).read_text("utf-8")
    namespace = {}
    cells = re.findall(r"^```\{code-cell\} python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    values = [run_cell(cell, namespace) for cell in cells]
    shown = {type(value).__name__: value._repr_html_() for value in values if hasattr(value, "_repr_html_")}
    sys.stdout.write("\n" + json.dumps({name: html for name, html in shown.items() if html}) + "\n")
