"""The pages avoid the project's list of words, and stay easy to read."""

import importlib.util
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "check_prose.py"

pytestmark = pytest.mark.any_backend


@pytest.fixture(scope="module")
def prose():
    spec = importlib.util.spec_from_file_location("check_prose", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # for its dataclass
    spec.loader.exec_module(module)
    return module


def test_every_page_passes(prose):
    problems = {path.name: prose.find_problems(path.read_text("utf-8")) for path in prose.PAGES}
    assert len(problems) > 25
    assert {name: found for name, found in problems.items() if found} == {}


def test_a_word_of_the_list_is_found_with_its_line_in_prose_alone(prose):
    page = "# Title\n\nRuns\nwent on. `beside`\n\n```sh\nanew\n```\n\n| beside |\n\n- a very\n  long list\n"
    assert prose.find_problems(page) == ["3: 'went on': resume, continue", "12: 'very': leave it out"]
    assert prose.find_problems("```py\nadd_adapters(model)\n```") == ["2: 'add_adapters': the name of today"]


def test_a_long_sentence_is_found(prose):
    assert prose.find_problems("word " * 50 + "end.") == ["1: a sentence of 51 words; at most 50"]
    assert prose.find_problems("word " * 30 + "end. " + "word " * 29 + "end.") == []


def test_readability_is_that_of_its_formula(prose):
    # 2 sentences, 6 words, 26 letters: 4.71 * 26 / 6 + 0.5 * 6 / 2 - 21.43
    found = prose.measure(["Cats chased birds. Dogs were fed."])
    assert found.index == pytest.approx(4.71 * 26 / 6 + 0.5 * 3 - 21.43)
    assert (found.words_per_sentence, found.longest, found.passive, found.words) == (3, 3, 0.5, 6)


def test_a_page_of_long_words_or_of_passive_sentences_is_refused(prose):
    assert (
        "readability index"
        in prose.measure(["Internationalization characteristically disproportionate."] * 50).problems()[0]
    )
    assert "100% of the sentences are passive" in prose.measure(["It was fed."] * 50).problems()[0]
    assert prose.measure(["It ate."] * 100).problems() == []
