"""Self-contained HTML pages, SVG charts and text formatting; independent of Vision Transformers."""
