import json
import os
import shutil
import sys
import tarfile
import zipfile
from pathlib import Path

import lazy_loader
import pytest
from distributions import ROOT, build, done, environment

from vit_keras.presets import list_presets

pytestmark = pytest.mark.slow

NEW_FAMILY = """
[family]
description = "New"
paper = ""
license = "Apache-2.0"
recipe = "from_scratch"

[vit_brand_new]
source = "this test"
params = 1
image_size = [16, 16]
patch_size = 8
hidden_dim = 16
num_layers = 1
num_heads = 1
mlp_dim = 16
"""
LOOK = """
import json, pathlib, vit_keras as vk
home = pathlib.Path(vk.__file__).parent
seen = {"presets": vk.list_presets(), "home": str(home), "version": vk.__version__}
seen["emoji"] = (home / "data" / "emoji.npz").stat().st_size
seen["attributed"] = (home / "data" / "EMOJI-ATTRIBUTION.md").is_file()
directories = [vk.load_preset(f"vit_nano_conv8_{side}").weights["drawings"].directory for side in (32, 64)]
seen["weights"] = [(path / "model.safetensors").stat().st_size for path in directories]
print(json.dumps(seen))
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    build(out)
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


def copy_lazy_loader(folder):  # the one library that importing `vit_keras` needs
    shutil.copytree(Path(lazy_loader.__file__).parent, folder / "lazy_loader")


def empty_environment(folder):
    python = environment(folder, "--without-pip")
    copy_lazy_loader(Path(done(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()))
    return python


def install(python, wheel):
    done(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", wheel)


@pytest.fixture
def checkout(tmp_path):
    target = tmp_path / "checkout"
    target.mkdir()
    for name in ("vit_keras", "presets"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, target / name)
    return target


def test_the_wheel_has_every_module_presets_emoji_attribution_types_the_command_and_nothing_else(built):
    with zipfile.ZipFile(built[1]) as wheel:
        names = set(wheel.namelist())
        (entry_points,) = (name for name in names if name.endswith("/entry_points.txt"))
        assert "vit-keras = vit_keras.cli:main" in wheel.read(entry_points).decode()
        assert wheel.read("vit_keras/data/emoji.npz") == (ROOT / "vit_keras" / "data" / "emoji.npz").read_bytes()
    files = {path.relative_to(ROOT) for path in (ROOT / "vit_keras").rglob("*.*") if path.is_file()}
    package = {path.as_posix() for path in files if "__pycache__" not in path.parts}
    presets = {f"vit_keras/_presets/{path.name}" for path in (ROOT / "presets").glob("*.toml")}
    assert {name for name in names if ".dist-info/" not in name} == package | presets
    embedded = {name for name in package if name.startswith("vit_keras/presets/embedded/")}
    assert len(embedded) == 11  # two directories of five files, and who drew what they were trained on
    labels = {"vit_keras/presets/imagenet.tsv.gz", "vit_keras/presets/published_models.toml", "vit_keras/py.typed"}
    assert labels <= package
    assert {"LICENSE", "EMOJI-ATTRIBUTION.md", "IMAGENET-ATTRIBUTION.md", "DRAWINGS-ATTRIBUTION.md"} <= {
        Path(name).name for name in names if ".dist-info/licenses/" in name
    }
    assert built[1].stat().st_size <= 8e6


def test_the_sdist_makes_the_wheel_that_the_checkout_makes(built, tmp_path):
    build(tmp_path, "--wheel")
    wheels = [zipfile.ZipFile(path) for path in (built[1], *tmp_path.glob("*.whl"))]
    of_sdist, of_checkout = ({each.filename: each.CRC for each in wheel.infolist()} for wheel in wheels)
    assert of_sdist == of_checkout


def test_the_citation_is_of_this_version(built):
    assert f"\nversion: {built[1].name.split('-')[1]}\n" in (ROOT / "CITATION.cff").read_text("utf-8")


def test_the_sdist_has_what_the_tests_and_the_build_need(built):
    with tarfile.open(built[0]) as sdist:
        names = {name.split("/", 1)[-1] for name in sdist.getnames()}
    needed = "pyproject.toml LICENSE README.md Makefile presets/vit.toml tests/conftest.py scripts/build_emoji.py"
    assert set(needed.split()) <= names
    assert not any("__pycache__" in name or name.startswith((".venv", "runs/")) for name in names)


def test_in_an_empty_environment_the_wheel_lists_every_preset_and_has_the_emoji(built, tmp_path):
    python = empty_environment(tmp_path / "empty")
    install(python, built[1])
    seen = json.loads(done(python, "-I", "-c", LOOK, cwd=tmp_path))
    assert Path(seen["home"]).is_relative_to(tmp_path / "empty")
    assert seen["presets"] == list_presets()
    assert seen["emoji"] == (ROOT / "vit_keras" / "data" / "emoji.npz").stat().st_size
    assert seen["attributed"]
    assert 2e6 < sum(seen["weights"]) < 3e6
    assert seen["version"] in built[1].name


def test_an_editable_install_sees_a_new_preset_file_at_once(checkout, tmp_path):
    hatchling = pytest.importorskip("hatchling.build")
    pytest.importorskip("editables")  # hatchling needs it for editable installs
    before = Path.cwd()
    os.chdir(checkout)
    try:
        wheel = tmp_path / hatchling.build_editable(str(tmp_path))
    finally:
        os.chdir(before)
    python = empty_environment(tmp_path / "empty")
    install(python, wheel)
    for added in ([], ["vit_brand_new"]):
        if added:
            (checkout / "presets" / "new.toml").write_text(NEW_FAMILY)
        seen = json.loads(done(python, "-I", "-c", LOOK, cwd=tmp_path))
        assert Path(seen["home"]) == checkout / "vit_keras"
        assert seen["presets"] == sorted([*list_presets(), *added])


def test_a_bare_checkout_on_the_path_works_without_being_installed(checkout, tmp_path):
    (checkout / "presets" / "new.toml").write_text(NEW_FAMILY)
    copy_lazy_loader(tmp_path / "libraries")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(checkout), str(tmp_path / "libraries")])}
    seen = json.loads(done(sys.executable, "-S", "-c", LOOK, cwd=tmp_path, env=environment))
    assert Path(seen["home"]) == checkout / "vit_keras"
    assert seen["version"] == "0+checkout"
    assert seen["presets"] == sorted([*list_presets(), "vit_brand_new"])


@pytest.mark.network
@pytest.mark.parametrize("extra", ["export", "jax", "heic", "hub"])
def test_an_extra_resolves_together_with_the_core(built, extra):
    command = (sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-")
    report = json.loads(done(*command, f"{built[1]}[{extra}]"))
    versions = {each["metadata"]["name"].lower(): each["metadata"]["version"] for each in report["install"]}
    needed = {
        "export": {"onnx", "onnxruntime", "ai-edge-litert"},
        "jax": {"jax", "jaxlib"},
        "heic": {"pillow-heif"},
        "hub": {"huggingface-hub"},
    }
    assert {"keras", "tensorflow", *needed[extra]} <= {name.replace("_", "-") for name in versions}
    assert tuple(map(int, versions["tensorflow"].split(".")[:2])) >= (2, 21)  # no extra takes the core back
