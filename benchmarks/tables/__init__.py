"""Tables of strangers: what `anyview-train init` and `fit` give without an edit, beside other methods."""
