"""Side-by-side measurements, always as ratios of one run on one machine."""
