"""Charts: what /render draws for those who ask for a picture."""
