"""Controlled comparisons: the same data, networks and epochs, several seeds, one thing changed.

Every run is one JSON line in a file of this folder. A recorded run is not repeated, and the tables are made
from the files alone.
"""
