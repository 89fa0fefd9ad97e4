import re
import shlex

import pytest
import typer

from vit_keras.cli.help import EXIT_CODES, split_help
from vit_keras.cli.main import build_app
from vit_keras.errors import VitKerasError


def walk(group, *path):
    """Yields every command with the words that call it."""
    for name, command in group.commands.items():
        yield ((*path, name), command)
        if hasattr(command, "commands"):
            yield from walk(command, *path, name)


ROOT = typer.main.get_command(build_app())
COMMANDS = [(path, command) for path, command in walk(ROOT) if not hasattr(command, "commands")]
GROUPS = [((), ROOT), *((path, command) for path, command in walk(ROOT) if hasattr(command, "commands"))]


def find(path):
    """Returns the command that words call, and how many of the words are its name."""
    command, depth = ROOT, 0
    while hasattr(command, "commands"):
        command, depth = command.commands[path[depth]], depth + 1
    return command, depth


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=[" ".join(path) for path, _ in COMMANDS])
def test_every_option_has_a_group_a_metavar_a_person_reads_and_help(run, path, command):
    code, out, err = run(*path, "-h")
    assert (code, err) == (0, "")
    assert out == run(*path, "--help")[1]
    for parameter in command.params:
        assert parameter.help, parameter.name
        if parameter.param_type_name == "argument":
            assert parameter.metavar.isupper()
        else:
            assert parameter.is_flag or parameter.metavar.isupper() or ":" in parameter.metavar, parameter.name
            assert parameter.rich_help_panel is not None or parameter.name == "config"
    assert not re.search(r"<(str|int|float|path|file)>|\b(TEXT|INTEGER|FLOAT|PATH)\b", out)
    assert "Exit codes:" in out


@pytest.mark.parametrize(
    ("path", "command"), [*COMMANDS, *GROUPS], ids=[" ".join(path) for path, _ in [*COMMANDS, *GROUPS]]
)
def test_every_example_is_a_command_line_that_parses(path, command):
    lines = split_help(command.help)[1]
    assert lines
    for line in lines:
        program, *words = shlex.split(re.split(r"&&|>", line)[0], comments=True)
        assert program == "vit-keras"
        found, depth = find(words)
        if found is not command:
            assert hasattr(command, "commands"), f"{line} is an example of another command"
        kept = [word for word in words[depth:] if word != "--config" and not word.endswith(".toml")]
        found.make_context(words[depth - 1], kept)


def test_the_first_page_shows_whole_sentences_by_topic_and_the_commands_of_a_first_day(run):
    code, out, err = run()
    assert code in (0, 2)  # click's own choice, which changed between its versions
    assert "..." not in (out + err).split("Choose a model:")[1]
    page = run("-h")[1]
    assert page.index("vit-keras train ") < page.index("vit-keras finetune") < page.index("vit-keras predict")
    assert page.index("vit-keras predict") < page.index("Choose a model:") < page.index("Train:")
    for path, command in walk(ROOT):
        if len(path) == 1:
            first = split_help(command.help)[0].split("\n\n")[0]
            assert " ".join(first.split()) in " ".join(page.split())


def test_the_exit_codes_of_all_errors_are_in_the_help():
    def codes(kind):
        return {kind.exit_code}.union(*(codes(each) for each in kind.__subclasses__()))

    assert codes(VitKerasError) | {0, 75, 130} == {int(number) for number in re.findall(r"\d+", EXIT_CODES)}


def test_the_version_is_the_distribution_s(run):
    import vit_keras

    assert run("--version") == (0, f"vit-keras-zoo {vit_keras.__version__}\n", "")
