"""Text to arrays: targets are parsed, planned and computed over 2-D grids."""
