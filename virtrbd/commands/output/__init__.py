"""What a run says: tables, plans, screens, lines, progress, and the way out to the terminal."""
