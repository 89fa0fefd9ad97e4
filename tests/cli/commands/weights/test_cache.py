import json

import pytest

RECORD = {"url": "https://x.example/model.safetensors", "commit": None, "sha256": "0" * 64, "size": 5, "mtime_ns": 1}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder with files of every kind, among files of the user's."""
    monkeypatch.setenv("VIT_KERAS_CACHE", str(tmp_path))
    contents = {
        "x.example-1/model.safetensors": "12345",
        "x.example-1/model.safetensors.json": json.dumps(RECORD),
        "x.example-1/model.safetensors.lock": "",
        f"images/{'0f' * 32}.npy": "1234567",
        "compiled/0123456789ab/jit_f-cache": "123",
        "images/holiday.npy": "mine",
        "compiled/notes/readme.txt": "mine",
        "project/settings.json": '{"url": "mine"}',
    }
    for name, content in contents.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def test_each_kind_is_counted(cache, run):
    code, out, _ = run("cache", "--json")
    shown = json.loads(out)
    record_size = len(json.dumps(RECORD))
    assert (code, shown["folder"]) == (0, str(cache))
    assert shown["kinds"] == {
        "weights": {"files": 3, "bytes": 5 + record_size},
        "images": {"files": 1, "bytes": 7},
        "compiled": {"files": 1, "bytes": 3},
    }
    code, out, _ = run("cache")
    assert [line.split()[0] for line in out.splitlines()] == [str(cache), "weights", "images", "compiled"]


@pytest.mark.parametrize(
    ("kind", "removed"),
    [
        ("weights", ["x.example-1", "x.example-1/model.safetensors", "x.example-1/model.safetensors.json", "x.example-1/model.safetensors.lock"]),
        ("images", [f"images/{'0f' * 32}.npy"]),
        ("compiled", ["compiled/0123456789ab", "compiled/0123456789ab/jit_f-cache"]),
    ],
)  # fmt: skip
def test_clearing_a_kind_removes_its_files_and_nothing_of_the_users(cache, run, kind, removed):
    before = {str(path.relative_to(cache)) for path in cache.rglob("*")}
    code, out, _ = run("cache", "--clear", kind, "--json")
    assert (code, json.loads(out)["kinds"][kind]) == (0, {"files": 0, "bytes": 0})
    assert before - {str(path.relative_to(cache)) for path in cache.rglob("*")} == set(removed)


def test_an_empty_cache_and_a_kind_that_is_none(tmp_path, monkeypatch, run, refused):
    monkeypatch.setenv("VIT_KERAS_CACHE", str(tmp_path / "new"))
    assert json.loads(run("cache", "--clear", "images", "--json")[1])["kinds"]["images"]["files"] == 0
    assert not (tmp_path / "new").exists()
    refused(2, "--clear must be one of weights, images, compiled, got 'all'", "cache", "--clear", "all")
