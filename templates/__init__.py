"""The Jinja2 templates, packaged as `virtrbd.templates`."""
