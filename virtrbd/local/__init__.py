"""This host's own files: who may write where they lie, how they are written, and what is in a saved plan."""
