import importlib.util
from pathlib import Path

ROOT = Path(__file__).parents[1]


def rooms():
    """Returns each folder of the package with the Python files in it, `__init__` aside."""
    folders = [file.parent for file in (ROOT / "vit_keras").rglob("__init__.py")]
    return {
        folder.relative_to(ROOT): [file.name for file in folder.glob("*.py") if file.name != "__init__.py"]
        for folder in folders
    }


def test_no_room_holds_more_than_16_files():
    assert {str(room): len(files) for room, files in rooms().items() if len(files) > 16} == {}


def test_every_folder_with_python_files_is_a_package():
    folders = {file.parent for file in (ROOT / "vit_keras").rglob("*.py")}
    assert {folder.relative_to(ROOT) for folder in folders} == rooms().keys()


def test_the_page_of_the_architecture_is_what_the_code_says():
    spec = importlib.util.spec_from_file_location("write_architecture", ROOT / "scripts" / "write_architecture.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.PAGE.read_text("utf-8") == script.architecture(), "run scripts/write_architecture.py"
