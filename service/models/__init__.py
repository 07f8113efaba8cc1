"""The models that are loaded, and the version of each that answers."""
