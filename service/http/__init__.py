"""Layers that every request passes: limits, keys, deadlines, endpoint table, errors, start and end."""
