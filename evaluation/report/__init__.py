"""A run told: in plain words, tables and pictures, as one HTML file and as Markdown."""
