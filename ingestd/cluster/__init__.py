"""Many nodes: which has what, and one answer of all."""
