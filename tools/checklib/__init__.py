"""What tools/check runs beside ruff, mypy, lint-imports and pytest."""
