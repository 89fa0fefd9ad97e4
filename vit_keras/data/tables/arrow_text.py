"""Splits large text tables into cells with pyarrow, where it is installed: in a third of the time, with the same result."""

import importlib.util

from vit_keras.data.tables.blanks import may_have_blanks

_WORTH_IMPORTING = 16 * 2**20  # bytes; smaller texts are split before pyarrow is imported


def is_large(content: bytes) -> bool:
    """Whether a text is one that `split_large` may split: in ASCII, and so large that importing pyarrow pays."""
    return len(content) >= _WORTH_IMPORTING and content.isascii() and importlib.util.find_spec("pyarrow") is not None


def split_large(content: bytes, delimiter: str) -> tuple[list[str], list[list[str]]] | None:
    """Returns the first row, and the columns of the others, of a large text in ASCII whose rows all have the same number of cells, two or more.

    None for any other text, such as one with quotes, other line ends or blanks around a cell, and where pyarrow is not installed.
    """
    if delimiter == " " or any(each in content for each in (b'"', b"\r", b"\0")) or may_have_blanks(content, delimiter):
        return None
    import pyarrow as pa
    from pyarrow import csv

    width = content.partition(b"\n")[0].count(delimiter.encode()) + 1
    names = [str(index) for index in range(width)]
    try:
        table = csv.read_csv(
            pa.BufferReader(content),
            read_options=csv.ReadOptions(column_names=names),
            parse_options=csv.ParseOptions(delimiter=delimiter, quote_char=False, ignore_empty_lines=False),
            convert_options=csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), check_utf8=False),
        )
    except pa.ArrowInvalid:  # rows of other lengths
        return None
    columns = [column.to_pylist() for column in table.columns]
    if width < 2 or all("" in column for column in columns):  # a row may have empty cells only, which is none
        return None
    return [column[0] for column in columns], [column[1:] for column in columns]
