"""What the site's extensions draw, check and write. They need the packages of `.[docs]`."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("sphinx")
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.any_backend


def test_a_flowchart_has_a_box_for_each_name_below_all_that_point_to_it():
    import diagrams

    code = 'flowchart TD\n  a["cli & more"]\n  b["left"]\n  c["right"]\n  d["errors"]\n  a --> b\n  a --> c\n  b --> d\n  c --> d\n'
    svg = ElementTree.fromstring(diagrams.draw_flowchart(code))
    places = {text.text: (float(text.get("x")), float(text.get("y"))) for text in svg.iter("text")}
    assert places.keys() == {"cli & more", "left", "right", "errors"}
    assert places["cli & more"][1] < places["left"][1] == places["right"][1] < places["errors"][1]
    assert places["left"][0] < places["errors"][0] < places["right"][0]
    assert len([path for path in svg.iter("path") if path.get("marker-end")]) == 4


@pytest.mark.parametrize("line", ["a -.-> b", "subgraph x", "a --> b --> c"])
def test_what_a_flowchart_can_not_draw_ends_the_build(line):
    import diagrams
    from sphinx.errors import ExtensionError

    with pytest.raises(ExtensionError, match=re.escape(line)):
        diagrams.draw_flowchart(f'flowchart TD\n  a["x"]\n  b["y"]\n  {line}\n')
    with pytest.raises(ExtensionError, match="flowchart LR"):
        diagrams.draw_flowchart("flowchart LR\n  a --> b\n")


def test_the_diagram_of_the_architecture_is_drawn():
    import diagrams

    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    (code,) = re.findall(r"```mermaid\n(.*?)```", page, re.DOTALL)
    svg = diagrams.draw_flowchart(code)
    assert all(f">{label}<" in svg for label in re.findall(r'\["(.+)"\]', code))


def test_broken_links_and_files_from_elsewhere_are_found(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import page_report

    (tmp_path / "one.html").write_text(
        '<p id="here">A <code>b_c_d</code> word. Second one.</p><a href="two.html#there"></a><a href="#here"></a><a href="two.html#no"></a>'
        '<a href="three.html"></a><script src="https://example.org/x.js"></script><a href="https://example.org"></a>'
    )
    (tmp_path / "two.html").write_text('<h1 id="there">Two</h1>')
    pages = {path: page_report.Page(path) for path in tmp_path.glob("*.html")}
    assert sorted(page_report.find_broken(pages, tmp_path)) == [
        "one.html links to three.html, which is not there",
        "one.html links to two.html#no: that page has no such anchor",
        "one.html loads https://example.org/x.js, which needs a network",
    ]
    assert pages[tmp_path / "one.html"].sentences == ["A code word. Second one."]


def test_only_pages_with_the_header_of_jupytext_are_notebooks(tmp_path):
    import notebook_links

    notebooks = {path.name for path in (ROOT / "docs").rglob("*.md") if notebook_links.is_notebook(path)}
    cells = {path.name for path in (ROOT / "docs").rglob("*.md") if "{code-cell}" in path.read_text("utf-8")}
    assert notebooks == cells
    assert {
        "pixels_to_logits.md",
        "your_photos.md",
        "looking_inside.md",
        "tuning.md",
        "pretraining.md",
        "take_it_away.md",
    } <= cells


def test_every_file_of_results_is_a_section_with_its_command_and_numbers():
    import measurement_pages

    page = measurement_pages.make_text()
    sections = dict(zip(*[iter(re.split(r"^## (.+)$", page, flags=re.MULTILINE)[1:])] * 2, strict=True))
    files = sorted((ROOT / "benchmarks" / "results").glob("*/*.json"))
    assert sections.keys() == {f"{path.stem} ({path.parent.name})" for path in files}
    for path in files:
        result, section = json.loads(path.read_text("utf-8")), sections[f"{path.stem} ({path.parent.name})"]
        assert f"```sh\n{result['command']}\n```" in section
        assert result["environment"]["processor"] in section
        assert section.count("\n| ") >= 3, path
        assert all(line.count("|") - line.count("\\|") >= 3 for line in section.splitlines() if line.startswith("| "))
    assert "| mean\\_test\\_accuracy | 0.726 |" in sections["emoji_demo (amd_epyc)"]


def test_the_cards_of_the_weights_in_the_package_are_those_of_their_directories():
    import card_pages

    page = card_pages.make_text()
    for name in ("vit_nano_conv8_32", "vit_nano_conv8_64"):
        card = (ROOT / "vit_keras" / "presets" / "embedded" / name / "README.md").read_text("utf-8")
        assert card[card.index("\n- Images of") : card.index("\n## What")] in page
    result = json.loads(
        (ROOT / "benchmarks" / "results" / "intel_xeon_amx" / "embedded_weights_32.json").read_text("utf-8")
    )
    first = result["cells"][0]
    assert (
        f"| {first['shots']} | {first['finetuned']['accuracy']:.1%} | {first['from_scratch']['accuracy']:.1%} |" in page
    )
    assert "Game-icons.net" in page


def test_pages_that_are_completed_have_their_data_in_place_of_the_note():
    import reference_pages
    from sphinx.errors import ExtensionError

    for name in reference_pages.COMPLETED:
        page = (ROOT / "docs" / f"{name}.md").read_text("utf-8")
        assert "make docs" in page
        whole = reference_pages.complete(name, page)
        assert whole.startswith(page.partition("<!--")[0])
        assert whole.endswith(page.rpartition("-->\n")[2])
        assert len(whole) > 2 * len(page)
        assert not re.search("make docs|<!--", whole)
    assert reference_pages.complete("reference/files", "# Files\n") == "# Files\n"
    with pytest.raises(ExtensionError, match=r"docs/reference/presets\.md"):
        reference_pages.complete("reference/presets", "# Presets\n")
