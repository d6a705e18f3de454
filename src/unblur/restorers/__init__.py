"""Guidance and network behind one protocol, and the table of presets."""
