"""Paths to ids and back: names, find, tags."""
