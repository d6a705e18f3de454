"""Fitting the layers of an atlas to a clip."""
