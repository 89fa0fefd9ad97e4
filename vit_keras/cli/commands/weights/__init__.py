"""Commands about files of weights: `vit-keras convert`, `verify` and `cache`."""
