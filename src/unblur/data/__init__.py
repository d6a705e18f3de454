"""Data sets on disk, and what builds them."""
