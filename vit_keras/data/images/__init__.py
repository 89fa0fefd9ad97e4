"""One image: decoding, preprocessing, caching."""
