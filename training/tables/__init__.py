"""Tables as they lie on a disk: read, joined, and looked at for a first experiment file. No torch here."""
