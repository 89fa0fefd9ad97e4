"""The machine: devices, processor, precision, processes, signals, files."""
