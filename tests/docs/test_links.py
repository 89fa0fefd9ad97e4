"""Links of the pages as they are read in the repository, without a build: each leads to a file that git tracks, and to a heading of it."""

import posixpath
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = re.compile(r"^(`{3,}|~{3,}|:{3,}).*?^\1\s*$|`[^`\n]+`|<!--.*?-->", re.MULTILINE | re.DOTALL)
LINK = re.compile(r'\]\(<?([^)>\s]+)|(?:href|src)="([^"]+)"|^\[[^\]]+\]: *(\S+)', re.MULTILINE)

pytestmark = pytest.mark.any_backend


def list_files():
    """Returns the paths of files that git tracks, or would track once they are added."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:  # an sdist has no list of its files, and its links are those of the repository
        pytest.skip("needs a checkout of the repository")
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def find_anchors(page):
    """Returns the anchors of a page, made of its headings as GitHub makes them, and its own."""
    anchors = set(re.findall(r'\b(?:id|name)="([^"]+)"', page))
    for title in re.findall(
        r"^#+ (.+)", re.sub(r"^(`{3,}).*?^\1\s*$", "", page, flags=re.MULTILINE | re.DOTALL), re.MULTILINE
    ):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title.strip())
        slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        count = sum(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", anchor) is not None for anchor in anchors)
        anchors.add(f"{slug}-{count}" if count else slug)
    return anchors


def find_broken(pages, files):
    """Yields the links of pages, texts by path, that lead to none of the files, or to no heading of a page."""
    folders = {parent.as_posix() for name in files for parent in Path(name).parents}
    for name, page in pages.items():
        for link in map("".join, LINK.findall(CODE.sub("", page))):
            if re.match(r"[a-z]+:", link):
                continue  # https:, mailto:
            place, _, anchor = link.partition("#")
            target = posixpath.normpath(posixpath.join(posixpath.dirname(name), place)) if place else name
            if target not in folders and target not in files:
                yield f"{name}: {link}"
            elif anchor and anchor not in find_anchors(pages.get(target, "")):
                yield f"{name}: {link}: no such heading"


def test_every_relative_link_leads_to_a_file_that_git_tracks():
    files = list_files()
    pages = {name: (ROOT / name).read_text("utf-8") for name in files if name.endswith(".md")}
    assert len(pages) > 40
    assert list(find_broken(pages, files)) == []


def test_broken_links_are_found():
    pages = {
        "docs/one.md": "# One, `two` & [three](two.md)\n\n## Same\n\n## Same\n\n`[code](no.md)` <!-- [hidden](no.md) -->\n\n"
        "[a](two.md#what-it-is) [b](#one-two--three) [c](#same-1) [d](../README.md) [e](https://example.org) [f](../presets)\n"
        '![g](lost.png) [h](two.md#lost) [i](generated/page.md "title") [![j](pixel.png)](/README.md) <img src="no.jpg">\n\n'
        "```md\n[code](no.md)\n```\n\n[k]: gone.md\n",
        "docs/two.md": "## What it is?\n",
    }
    files = [*pages, "README.md", "presets/vit.toml", "docs/pixel.png"]
    assert list(find_broken(pages, files)) == [
        "docs/one.md: lost.png",
        "docs/one.md: two.md#lost: no such heading",
        "docs/one.md: generated/page.md",
        "docs/one.md: /README.md",
        "docs/one.md: no.jpg",
        "docs/one.md: gone.md",
    ]
