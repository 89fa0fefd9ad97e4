"""Twenty photos in every mode an image file has, and rules to resize them by; shared with the script that makes the references."""

import io

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

RULES = {
    "center": {"image_size": (96, 96), "crop": 0.875},
    "whole": {"image_size": (96, 96), "crop": 1.0},
    "wide": {"image_size": (64, 112), "crop": 0.9},
    "squash": {"image_size": (96, 96), "crop": 0.95, "crop_mode": "squash"},
    "border": {"image_size": (96, 80), "crop": 1.0, "crop_mode": "border"},
    "bilinear": {"image_size": (96, 96), "crop": 0.9, "interpolation": "bilinear"},
}


def photos() -> dict[str, bytes]:
    """Returns image files by name: parts of two real photos, encoded in every way."""
    china, flower = (Image.fromarray(photo) for photo in load_sample_images().images)
    files = {}

    def add(name: str, image: Image.Image, kind: str, **options: object) -> None:
        file = io.BytesIO()
        image.save(file, kind, **options)
        files[name] = file.getvalue()

    def part(image: Image.Image, number: int, size: tuple[int, int]) -> Image.Image:
        left, top = 13 * number % (640 - size[0]), 29 * number % (427 - size[1])
        return image.crop((left, top, left + size[0], top + size[1]))

    add("jpeg", part(china, 1, (500, 375)), "JPEG", quality=90)
    add("jpeg_upright", part(flower, 2, (240, 400)), "JPEG", quality=90)
    add("jpeg_progressive", part(china, 3, (333, 251)), "JPEG", quality=85, progressive=True)
    add("jpeg_444", part(flower, 4, (301, 403)), "JPEG", quality=95, subsampling=0)
    add("jpeg_grey", part(china, 5, (400, 300)).convert("L"), "JPEG", quality=90)
    add("jpeg_cmyk", part(flower, 6, (400, 300)).convert("CMYK"), "JPEG", quality=90)
    for orientation in (3, 6, 8):
        exif = Image.Exif()
        exif[0x0112] = orientation
        add(f"jpeg_exif_{orientation}", part(china, 6 + orientation, (320, 200)), "JPEG", quality=90, exif=exif)
    add("jpeg_small", part(flower, 10, (60, 50)), "JPEG", quality=90)
    add("png", part(china, 11, (300, 200)), "PNG")
    add("png_grey", part(flower, 12, (200, 300)).convert("L"), "PNG")
    add("png_palette", part(china, 13, (300, 200)).convert("P", palette=Image.Palette.ADAPTIVE), "PNG")
    add("png_one_bit", part(flower, 14, (300, 200)).convert("1"), "PNG")
    transparent = part(china, 15, (300, 200)).convert("RGBA")
    transparent.putalpha(part(flower, 16, (300, 200)).convert("L"))
    add("png_rgba", transparent, "PNG")
    add("png_grey_alpha", transparent.convert("LA"), "PNG")
    sixteen = np.asarray(part(flower, 17, (300, 200)).convert("L"), dtype="uint16") * 257
    add("png_16_bit", Image.fromarray(sixteen), "PNG")
    add("webp", part(china, 18, (400, 300)), "WEBP", lossless=True)
    add("gif", part(flower, 19, (300, 200)).convert("P", palette=Image.Palette.ADAPTIVE), "GIF")
    add("bmp", part(china, 20, (300, 200)), "BMP")
    return files


def upright_on_white(content: bytes) -> Image.Image:
    """Returns a file as what a person sees, by Pillow's own means and none of the package's."""
    from PIL import ImageOps

    image = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    if image.mode.startswith("I"):
        return Image.fromarray((np.asarray(image) // 257).astype("uint8")).convert("RGB")
    if image.mode in ("RGBA", "LA"):
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
