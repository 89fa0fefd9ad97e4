"""Limits of requests, so that no client can exhaust this machine."""

MAX_WAITING = 64
"""Images that are decoded, or wait for the model, at once; one more is answered with 503."""
MAX_CONNECTIONS = 128
MAX_BYTES = 25 * 2**20
"""Bytes of an image file."""
MAX_PIXELS = 25_000_000
"""Pixels of an image, by its header, before it is decoded; photos of 24 million pixels are common."""
MAX_DECODERS = 4
"""Processes that decode, each with at most one image."""
DECODER_BYTES = 4 * 2**30
"""Address space of such a process; an image of `MAX_PIXELS` takes a tenth of it."""
DECODE_SECONDS = 20.0
MODEL_SECONDS = 120.0
"""In which the model must have answered, the images before it included."""
HEADER_SECONDS = 15.0
"""For a request's line and headers, and for a connection without requests."""
BODY_SECONDS = 60.0
WRITE_SECONDS = 30.0
END_SECONDS = 10.0
"""In which requests that are being answered may end after Ctrl-C."""
