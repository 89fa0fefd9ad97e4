import pytest


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "run" / "checkpoints"
