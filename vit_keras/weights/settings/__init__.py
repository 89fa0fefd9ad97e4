"""Reads the config files of a checkpoint.

`read.py` finds the library that wrote them and calls its reader: `huggingface.py`, `timm.py`, `open_clip.py` or `keras_hub.py`. A reader
translates one library's config.json, already parsed, into fields of `ViTConfig`, class names and preprocessing; it reads no tensor. The
result, `Settings`, keeps apart what a file states, what the tensors' names reveal, and what all published models of a kind have in
common. `apply.py` puts them into the config of a model, where what a file states wins, and reports what contradicts it or remains assumed.
"""
