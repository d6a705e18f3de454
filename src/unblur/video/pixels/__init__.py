"""Samples of FFmpeg's pixel formats to arrays and RGB, and back."""
