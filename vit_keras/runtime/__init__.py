"""The machine: devices, processor, precision, processes, signals, files. Knows nothing of a Vision Transformer."""
