"""Self-contained HTML pages, SVG charts and text. Knows nothing of a Vision Transformer."""
