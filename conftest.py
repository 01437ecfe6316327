"""Nothing is configured here: the plugin comes with the package (holdfast/plugin.py)."""
