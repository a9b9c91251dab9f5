"""Domain XML: rendered, parsed, compared, edited."""
