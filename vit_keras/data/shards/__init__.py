"""Reads shards: tar files of WebDataset, TFRecord files, and Parquet files with images inside."""
