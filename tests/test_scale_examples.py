"""The files in `examples/scale`: their commands and variables are ones that the program knows."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer

from vit_keras.cli.main import build_app
from vit_keras.distributed.launchers import find_cluster

SCALE = Path(__file__).parents[1] / "examples" / "scale"
FILES = sorted(SCALE.iterdir())

pytestmark = pytest.mark.any_backend


def words_of(text):
    """The command line in a file: of JobSet, the lists `command` and `args`."""
    text = text.replace("\\\n", " ")
    if "apiVersion" in text:
        lists = re.findall(r"(?:command|args): \[(.*)\]", text)
        return [word.strip().strip('"') for part in lists for word in part.split(",")]
    (line,) = [line for line in text.splitlines() if "vit-keras finetune" in line]
    words = [word for word in shlex.split(line) if word != "${resume[@]}"]
    return words[words.index("vit-keras") :]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_command_and_its_options_exist(path):
    program, name, *words = words_of(path.read_text("utf-8"))
    assert (program, name) == ("vit-keras", "finetune")
    command = typer.main.get_command(build_app()).get_command(None, name)
    context = command.make_context(name, words, resilient_parsing=False)
    assert context.params["model"] == "vit_base_patch16_224"
    assert context.params["batch_size"] == 1024
    assert context.params["run_dir"] is not None  # the processes have to agree on one


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".yaml"], ids=lambda path: path.name)
def test_its_variables_describe_a_launch(path):
    text = path.read_text("utf-8")
    names = sorted(set(re.findall(r"KERAS_DISTRIBUTION_\w+", text)))
    values = dict(zip(names, ("node-0:1234", "4", "3"), strict=True))  # addresses, number, id
    cluster = find_cluster(values)
    assert (cluster.coordinator, cluster.num_processes, cluster.process_id) == ("node-0:1234", 4, 3)
    assert re.search(r"KERAS_BACKEND\W+(value: )?jax", text)


def test_the_slurm_script_is_a_shell_script_that_asks_for_a_process_per_gpu():
    path = SCALE / "slurm.sh"
    subprocess.run(["bash", "-n", str(path)], check=True)
    options = dict(re.findall(r"#SBATCH --([\w-]+)=(\S+)", path.read_text("utf-8")))
    assert options["gpus-per-task"] == "1"
    assert options["signal"] == "TERM@120"  # time to save before the limit
