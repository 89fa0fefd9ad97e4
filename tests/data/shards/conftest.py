"""Shards with small images, whose color says their class."""

import io
import tarfile

import pytest
from PIL import Image

COLORS = {"zebra": (220, 0, 0), "cat": (0, 220, 0), "dog": (0, 0, 220)}


def encode(name, width=12):
    file = io.BytesIO()
    Image.new("RGB", (width, 10), COLORS[name]).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def make_tar(tmp_path):
    """Returns a maker of tar files with these members."""

    def make(members, path=tmp_path / "shard.tar"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(path, "w") as tar:
            for name, content in members.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        return path

    return make


@pytest.fixture
def make_samples(make_tar):
    """Returns a maker of WebDataset's tar files: images of three classes in turn, with their numbers in `.cls`."""

    def make(first, count, path, **more):
        members = {}
        for number in range(first, first + count):
            name = list(COLORS)[number % 3]
            members[f"{number:04d}.png"] = encode(name, 8 + number)
            members[f"{number:04d}.cls"] = str(number % 3).encode()
            members |= {f"{number:04d}.{suffix}": make_text(name) for suffix, make_text in more.items()}
        return make_tar(members, path)

    return make
