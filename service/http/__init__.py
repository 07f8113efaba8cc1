"""What every request passes, whatever model it is for: limits, keys, deadlines, errors, start and end."""
