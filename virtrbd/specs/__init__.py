"""From YAML files and settings to desired domains."""
