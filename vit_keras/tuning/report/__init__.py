"""What a search shows: progress, page, charts."""
