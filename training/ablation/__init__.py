"""Controlled comparisons: the same data, networks and epochs, several seeds, one thing changed.

Every run is one JSON line in a file beside this one; a run that is there is not done again, and the tables
are made from the files alone.
"""
