"""Reads tables of image files and labels: CSV, JSON lines, Parquet and data frames."""
