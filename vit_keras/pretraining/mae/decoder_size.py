"""The size of a masked autoencoder's decoder, by default chosen for the encoder's width."""

from dataclasses import dataclass

from vit_keras.errors import InvalidArgumentError

_HEAD_DIM = 32  # of published decoders: 512 / 16 and 96 / 3
_BASE, _SMALL = 768, 384  # widths of ViT-B and ViT-S


@dataclass(frozen=True, kw_only=True)
class DecoderSize:
    """Width, blocks and attention heads of a decoder."""

    dim: int
    num_layers: int
    num_heads: int


def choose_decoder_size(
    hidden_dim: int, *, dim: int | None = None, num_layers: int | None = None, num_heads: int | None = None
) -> DecoderSize:
    """Returns a decoder's size for an encoder of this width; None chooses.

    For ViT-B and wider the paper's: 8 blocks of width 512 (He et al. 2022, arXiv 2111.06377, table 1). For ViT-S 4 blocks of half its width,
    so that the decoder costs less than the encoder of the visible patches. Below, one block of half the width, which was best for ViT-Ti
    (Wang et al. 2023, arXiv 2205.14443).

    Raises:
        InvalidArgumentError: The width is not divisible by 4 or by the heads, or a number is not positive.

    Example:
        >>> choose_decoder_size(192)
        DecoderSize(dim=96, num_layers=1, num_heads=3)
        >>> choose_decoder_size(1024, num_layers=4)
        DecoderSize(dim=512, num_layers=4, num_heads=16)
    """
    numbers = {"decoder_dim": dim, "decoder_layers": num_layers, "decoder_heads": num_heads}
    for name, value in numbers.items():
        if value is not None and (type(value) is not int or value < 1):
            raise InvalidArgumentError(
                f"{name}={value!r} is not a positive integer; None chooses by the encoder's width."
            )
    if dim is None:
        half = max(hidden_dim // 2, 4)
        dim = 512 if hidden_dim >= _BASE else half - half % (_HEAD_DIM if half >= _HEAD_DIM else 4)
    if num_layers is None:
        num_layers = 8 if hidden_dim >= _BASE else 4 if hidden_dim >= _SMALL else 1
    if num_heads is None:
        num_heads = dim // _HEAD_DIM if dim % _HEAD_DIM == 0 else 1
    if dim % 4 or dim % num_heads:
        raise InvalidArgumentError(
            f"decoder_dim={dim} must be divisible by 4, for its positions, and by decoder_heads={num_heads}: such as "
            f"{max(1, round(dim / (4 * num_heads))) * 4 * num_heads}."
        )
    return DecoderSize(dim=dim, num_layers=num_layers, num_heads=num_heads)
