import pytest

from vit_keras.runtime.cache import cache_folder

pytestmark = pytest.mark.any_backend


def test_the_cache_is_in_keras_home_by_default(monkeypatch, tmp_path):
    monkeypatch.setenv("VIT_KERAS_CACHE", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("VIT_KERAS_CACHE")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    assert cache_folder() == tmp_path / "keras" / "vit_keras"
    monkeypatch.delenv("KERAS_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".keras" / "vit_keras"
