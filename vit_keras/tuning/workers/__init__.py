"""Processes and machines that train trials."""
