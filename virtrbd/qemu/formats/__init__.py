"""What an image file says of itself, read from its first and last bytes: its format, its size, what else it needs."""
