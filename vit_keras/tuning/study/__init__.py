"""The state of a search: its journal, its trials and its objectives."""
