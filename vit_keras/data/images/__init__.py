"""Decoding, preprocessing and caching of single images."""
