"""A release as users get it: wheel and sdist in fresh environments away from the repository, and all that the README shows run there.

`make release-check` runs this. It needs a package index, 4 GB of disk, and about ten minutes on two cores.
"""

import json
import os
import signal
import subprocess
from urllib.request import Request, urlopen

import numpy as np
import pytest
from distributions import ROOT, build, done, environment, programs
from PIL import Image
from snippets import README, code_blocks, commands, demo_commands
from type_checkers import CHECKERS, TYPED_USE, check_typed_use, find_errors

from vit_keras.presets import list_presets

pytestmark = pytest.mark.network

WORDS = {
    "FILE_OR_DIR": "runs/mine", "SOURCE": "photos", "FOLDER": "photos", "PRESET": "vit_nano_conv8_32", "TAG": "drawings",
    "30min": "2 trials",
}  # fmt: skip
"""What stands for the words of the README's commands."""
SHORTER = {"train": ["--epochs", "1"], "finetune": ["--epochs", "1"], "pretrain": ["--epochs", "1"]}
SHOWN = [*demo_commands(), *commands(README)]
CHECKPOINT = """
import shutil, vit_keras as vk
vk.export(vk.from_preset("vit_tiny_patch16_224", num_classes=3), "timm", format="timm")
shutil.copy("timm/model.safetensors", "model.safetensors")
"""


class Installation:
    """An environment with one of the distributions, and a folder to work in that knows nothing of the repository."""

    def __init__(self, folder, distribution):
        self.folder, self.python = folder / "work", environment(folder / "environment")
        self.folder.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "KERAS", "VIT_"))}
        path = os.pathsep.join([str(programs(folder / "environment")), os.environ["PATH"]])
        self.environment = {**kept, "PATH": path, "VIT_KERAS_CACHE": str(folder / "cache"), "CUDA_VISIBLE_DEVICES": ""}
        self.run(self.python, "-m", "pip", "install", "--quiet", f"{distribution}[export]")

    def run(self, *command):
        """Runs a command in the folder and returns what it prints."""
        return done(*command, cwd=self.folder, env=self.environment)


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    assert done("git", "ls-files", "--others", "--exclude-standard", "vit_keras", "presets", cwd=ROOT) == ""
    folder = tmp_path_factory.mktemp("dist")
    build(folder)
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return {"wheel": wheel, "sdist": sdist}


@pytest.fixture(scope="module", params=["wheel", "sdist"])
def installed(request, distributions, tmp_path_factory):
    return Installation(tmp_path_factory.mktemp(request.param), distributions[request.param])


@pytest.fixture(scope="module")
def photos(installed):
    """The files that the README's commands name."""
    rng = np.random.default_rng(0)
    for name, color in (("apple", (200, 40, 40)), ("pear", (90, 180, 60)), ("plum", (90, 50, 130))):
        (installed.folder / "photos" / name).mkdir(parents=True)
        for index in range(20):
            pixels = rng.normal(color, 30, (48, 64, 3)).clip(0, 255).astype("uint8")
            Image.fromarray(pixels).save(installed.folder / "photos" / name / f"{index:02d}.png")
    Image.fromarray(pixels).save(installed.folder / "photo.jpg")
    return installed.folder / "photos"


@pytest.fixture(scope="module")
def read(installed, photos):
    """The folder after the README's program, which makes `runs/mine`."""
    (program,) = code_blocks(README, "python")
    (installed.folder / "program.py").write_text(program)
    installed.run("python", "program.py")
    installed.run("python", "-c", CHECKPOINT)
    return installed


def test_nothing_is_missing_or_in_conflict_and_the_import_warns_of_nothing(installed):
    installed.run(installed.python, "-m", "pip", "check")
    place = installed.run(installed.python, "-W", "error", "-c", "import vit_keras; print(vit_keras.__file__)")
    assert place.startswith(str(installed.python.parents[1]))


def test_help_and_presets_are_those_of_the_repository(installed):
    assert "finetune" in installed.run("vit-keras", "--help")
    listed = json.loads(installed.run("vit-keras", "list", "--json"))
    assert [preset["name"] for preset in listed] == list_presets()


def test_the_weights_in_the_package_classify_an_image(installed, photos):
    (row,) = json.loads(
        installed.run("vit-keras", "predict", "vit_nano_conv8_32:drawings", photos / "plum" / "00.png", "--json")
    )
    assert len(row["classes"]) == 5
    assert all(each["name"] and 0 <= each["probability"] <= 1 for each in row["classes"])


@pytest.mark.parametrize("words", SHOWN, ids=" ".join)
def test_a_command_of_the_readme_runs(words, read):
    words = [WORDS.get(word, word) for word in words]
    if words[0] == "serve":
        check_server(words, read)
    else:
        read.run("vit-keras", *words, *SHORTER.get(words[0], []))


def check_server(words, installed):
    """Asserts that a server shows its page, classifies an image, and ends by Ctrl-C."""
    command = ["vit-keras", *words, "--port", "0", "--json"]
    server = subprocess.Popen(command, cwd=installed.folder, env=installed.environment, stdout=subprocess.PIPE)
    try:
        url = json.loads(server.stdout.readline())["url"].rstrip("/")
        image, headers = (installed.folder / "photo.jpg").read_bytes(), {"Content-Type": "image/jpeg"}
        assert "<html" in urlopen(url).read().decode()
        assert json.load(urlopen(Request(f"{url}/predict", data=image, headers=headers)))
    finally:
        server.send_signal(signal.SIGINT)
        server.stdout.close()
    assert server.wait(30) == 0


@pytest.mark.parametrize("checker", CHECKERS)
def test_type_checkers_read_the_types_of_what_is_installed(checker, installed):
    check_typed_use(*find_errors(checker, TYPED_USE, folder=installed.folder, python=installed.python))
