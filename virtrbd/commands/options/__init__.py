"""Arguments and options that several verbs share, and what they mean."""
