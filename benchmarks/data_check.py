"""Verdicts, memory and time of `vit-keras data check` on 20,000 images, 100 of them broken in 25 ways.

    python benchmarks/data_check.py [--count 20000]

It also kills a check half-way and asserts that it resumes and finds the same. Memory is of all processes together. The images are 2,000
JPEGs of 500 px and nine copies of each that differ in a comment. Linux only.
"""

import argparse
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harness
import photos
from PIL import Image

COMMAND = [sys.executable, "-c", "from vit_keras.cli import main; main()", "data", "check"]
COPIES, CLASSES, EACH = 10, 10, 4


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Returns an encoded image."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png(width: int, height: int, extra: bytes = b"") -> bytes:
    """Returns a truncated PNG."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    text = chunk(b"zTXt", extra) if extra else b""
    return b"\x89PNG\r\n\x1a\n" + header + text + chunk(b"IDAT", zlib.compress(bytes(49))) + chunk(b"IEND", b"")


def zipped() -> bytes:
    """Returns a zip archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "text")
    return file.getvalue()


def broken(photo: Image.Image) -> dict[str, bytes]:
    """Returns 25 kinds of broken files by name."""
    jpeg, whole = encoded(photo, "JPEG"), encoded(photo, "PNG")
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    return {
        "empty.jpg": b"",
        "text.jpg": b"hello, this is text\n" * 9,
        "page.jpg": b"<!DOCTYPE html><html>404</html>",
        "zeros.jpg": bytes(4000),
        "half.jpg": jpeg[: len(jpeg) // 2],
        "without_end.jpg": jpeg[:-2],
        "header.jpg": jpeg[:300],
        "check_sum.png": bytes(flipped),
        "half.png": whole[: len(whole) // 2],
        "bomb.png": encoded(Image.new("1", (13_450, 13_450)), "PNG"),
        "endless.png": png(2**31 - 1, 2**31 - 1),
        "no_pixels.png": png(0, 0),
        "text_bomb.png": png(16, 16, b"key\0\0" + zlib.compress(bytes(200_000_000))),
        "few_pixels.png": png(64, 64),
        "half.webp": encoded(photo, "WEBP")[:4000],
        "half.gif": encoded(photo, "GIF")[:9000],
        "half.bmp": encoded(photo, "BMP")[:90_000],
        "tiff.jpg": encoded(photo, "TIFF"),
        "icon.png": encoded(photo.resize((64, 64)), "ICO"),
        "pickle.png": pickle.dumps(list(range(99))),
        "zip.jpg": zipped(),
        "document.jpg": b"%PDF-1.7\n" + bytes(99),
        "one_pixel.png": encoded(Image.new("RGB", (1, 1)), "PNG"),
        "narrow.png": encoded(Image.new("RGB", (9, 5000)), "PNG"),
        "telephone.heic": b"\0\0\0\x20ftypheic" + bytes(99),
    }


def build(root: Path, count: int) -> set[str]:
    """Writes the folder and returns the relative paths of the broken files."""
    kinds = broken(Image.open(next(iter(sorted(photos.make_folder(root / "seed", count=1).rglob("*.jpg"))))).copy())
    originals = sorted(
        photos.make_folder(root / "seed", count=(count - EACH * len(kinds)) // COPIES, seed=1).rglob("*.jpg")
    )
    good = count - EACH * len(kinds)
    for number in range(good):
        content = originals[number % len(originals)].read_bytes()
        comment = f"copy {number}".encode()
        path = root / "data" / f"class_{number % CLASSES}" / f"{number:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content[:2] + b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment + content[2:])
    names = set()
    for number in range(EACH):
        for name, content in kinds.items():
            path = root / "data" / f"class_{number}" / f"{number}_{name}"
            path.write_bytes(content)
            names.add(f"class_{number}/{path.name}")
    return names


def tree(process: int) -> list[int]:
    """Returns a process and its children."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                parent = int(Path(entry.path, "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found = [process]
    for known in found:
        found += children.get(known, [])
    return found


def resident(process: int) -> int:
    """Returns the resident memory of a process in bytes, 0 if it has ended."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def check(root: Path, cache: Path, *, until: Callable[[], bool] = lambda: False) -> dict[str, Any]:
    """Runs the command and returns its output, seconds and peak memory; kills it if asked to."""
    started, peak, killed = time.perf_counter(), 0, False
    output = cache.with_suffix(".json")
    with output.open("w") as file:
        process = subprocess.Popen(
            [*COMMAND, str(root), "--json", "--max-error-rate", "1"],
            stdout=file,
            env={**os.environ, "VIT_KERAS_CACHE": str(cache)},
        )
        while process.poll() is None:
            peak = max(peak, sum(map(resident, tree(process.pid))))
            if until():
                process.kill()
                killed = True
            time.sleep(0.02)
    seconds = time.perf_counter() - started
    if process.returncode and not killed:
        raise SystemExit(f"it ended with {process.returncode}")
    printed = None if killed else json.loads(output.read_text())
    return {"printed": printed, "seconds": seconds, "peak": peak, "code": process.returncode}


def rows(cache: Path) -> int:
    """Returns the number of files an unfinished check has processed."""
    return sum(log.read_bytes().count(b"\n") - 1 for log in cache.glob("manifests/*/progress.jsonl"))


def lists(cache: Path) -> list[bytes]:
    """Returns the report of a check."""
    return [path.read_bytes() for path in sorted(cache.glob("manifests/*/[mq]*.*"))]


def main(count: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, whole, cut = (Path(folder) / name for name in ("data", "whole", "cut"))
        expected = build(Path(folder), count)
        first = check(root, whole)
        again = check(root, whole)
        killed = check(root, cut, until=lambda: rows(cut) > count // 2)
        done = rows(cut)
        resumed = check(root, cut)
        quarantined = {item["path"] for item in first["printed"]["quarantined"]}
        if any(resident(process) for process in tree(os.getpid())[1:]):
            raise SystemExit("a process was left behind")
        harness.record(
            "data_check",
            {
                "files": count,
                "broken": len(expected),
                "kinds_of_broken": len(expected) // EACH,
                "quarantined": len(quarantined),
                "missed": sorted(expected - quarantined),
                "wrongly_refused": sorted(quarantined - expected),
                "seconds": first["seconds"],
                "images_a_second": count / first["seconds"],
                "peak_rss_mib_of_all_processes": max(run["peak"] for run in (first, again, killed, resumed)) / 2**20,
                "seconds_unchanged": again["seconds"],
                "killed": {
                    "after_seconds": killed["seconds"],
                    "files_done": done,
                    "seconds_to_finish": resumed["seconds"],
                    "same_manifest_and_quarantine_list": lists(cut) == lists(whole),
                },
                "findings": {
                    finding["kind"]: len(finding["files"])
                    for finding in first["printed"]["findings"]
                    if finding["files"]
                },
            },
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    main(parser.parse_args().count)
