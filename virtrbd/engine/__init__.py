"""What a run does with this host: observe, plan, execute, adopt. Everything here has effects."""
