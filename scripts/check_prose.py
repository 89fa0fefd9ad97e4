"""Checks the prose of the README and of docs/: words to avoid, long sentences, and how easy a page is to read.

    python scripts/check_prose.py [PAGE ...]

Prints a line per problem and exits with 1 if there are any. `scripts/words.toml` has the words. Code and tables are left out.
"""

import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
LISTS = "architecture"  # the page that is lists of files, not prose
PAGES = (
    ROOT / "README.md",
    *sorted(p for p in (ROOT / "docs").rglob("*.md") if "generated" not in p.parts and p.stem != LISTS),
)
# Bounds of a page, somewhat above what the pages have now.
MAX_INDEX, MAX_WORDS, MAX_PASSIVE = 10.0, 50, 0.45
_SHORT = 120  # words, below which an index says nothing of a page
_WORD = re.compile(r"[^\W_][\w'\u2019-]*")
_IRREGULAR = (
    "made|read|kept|left|written|known|drawn|chosen|given|taken|found|shown|built|run|cut|put|set|held|lost|seen|sent"
)
_PASSIVE = re.compile(
    rf"\b(?:is|are|was|were|be|been|being)\s+(?:\w+ly\s+|not\s+|also\s+)?(?:\w+ed|{_IRREGULAR})\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Readability:
    """How easy a text is to read.

    Attributes:
        index: Automated Readability Index, about the years of school that a reader needs.
        words_per_sentence: Mean.
        longest: Words of the longest sentence.
        passive: Fraction of the sentences with a verb in the passive.
        words: Words in all.
    """

    index: float
    words_per_sentence: float
    longest: int
    passive: float
    words: int

    def problems(self) -> list[str]:
        """Returns what is out of bounds."""
        found = []
        if self.longest > MAX_WORDS:
            found.append(f"a sentence of {self.longest} words; at most {MAX_WORDS}")
        if self.words > _SHORT and self.index > MAX_INDEX:
            found.append(f"readability index {self.index:.1f}; at most {MAX_INDEX}: shorter sentences, shorter words")
        if self.words > _SHORT and self.passive > MAX_PASSIVE:
            found.append(f"{self.passive:.0%} of the sentences are passive; at most {MAX_PASSIVE:.0%}")
        return found


def measure(paragraphs: Sequence[str]) -> Readability:
    """Returns how easy paragraphs of plain text are to read."""
    sentences = [
        part for text in paragraphs for part in re.split(r"(?<=[.!?:;])\s+", text) if len(_WORD.findall(part)) > 1
    ]
    words = [word for sentence in sentences for word in _WORD.findall(sentence)]
    if not words:
        return Readability(0.0, 0.0, 0, 0.0, 0)
    mean = len(words) / len(sentences)
    index = 4.71 * sum(map(len, words)) / len(words) + 0.5 * mean - 21.43
    passive = sum(bool(_PASSIVE.search(sentence)) for sentence in sentences) / len(sentences)
    return Readability(index, mean, max(len(_WORD.findall(part)) for part in sentences), passive, len(words))


def read_paragraphs(markdown: str) -> Iterator[tuple[int, str]]:
    """Yields the paragraphs and list items of a page, each with the number of its first line; inline code is the word `code`."""
    text = re.sub(r"\A---\n.*?\n---\n", _blank, markdown, flags=re.DOTALL)
    text = re.sub(r"^(`{3,}|:{3,}).*?^\1\s*$", _blank, text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<!--.*?-->|<script.*?</script>", _blank, text, flags=re.DOTALL)
    text = re.sub(r"`[^`]+`", "code", text)
    text = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", text)
    start, lines = 0, list[str]()
    for number, line in enumerate([*text.splitlines(), ""], start=1):
        is_item = re.match(r"\s*(?:[-*+]|\d+\.)\s", line)
        if lines and (not line.strip() or is_item or line.startswith(("#", "|"))):
            yield start, " ".join(lines)
            lines = []
        if line.strip() and not line.startswith(("#", "|", "<")):
            start = start if lines else number
            lines.append(re.sub(r"^\s*(?:[-*+]|\d+\.)\s+|[*<>]+", "", line).strip())


def _blank(match: re.Match[str]) -> str:
    """Returns as many empty lines as a match has."""
    return "\n" * match[0].count("\n")


def find_problems(markdown: str) -> list[str]:
    """Returns the problems of a page, each with its line."""
    words = tomllib.loads((ROOT / "scripts" / "words.toml").read_text("utf-8"))
    paragraphs = list(read_paragraphs(markdown))
    lines = [*((line, text, "prose") for line, text in paragraphs)]
    lines += [(number, text, "anywhere") for number, text in enumerate(markdown.splitlines(), start=1)]
    found = [
        f"{line}: {match[0]!r}: {instead}"
        for line, text, where in lines
        for pattern, instead in words[where].items()
        for match in re.finditer(rf"\b(?:{pattern})(?!\w)", text, re.IGNORECASE)
    ]
    long = [(line, measure([text]).longest) for line, text in paragraphs]
    found += [f"{line}: a sentence of {count} words; at most {MAX_WORDS}" for line, count in long if count > MAX_WORDS]
    whole = measure([text for _, text in paragraphs]).problems()
    return found + [f"1: {each}" for each in whole if not each.startswith("a sentence")]


def main(paths: Sequence[Path]) -> int:
    """Prints the problems of pages; returns 1 if there are any."""
    count = 0
    for path in paths:
        for problem in find_problems(path.read_text("utf-8")):
            print(f"{path}:{problem}")
            count += 1
    return int(count > 0)


if __name__ == "__main__":
    sys.exit(main([Path(name) for name in sys.argv[1:]] or PAGES))
