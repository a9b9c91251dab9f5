"""The output of a run: tables, plans, screens, lines, progress, and the way out to the terminal."""
