"""Blur of a lens: disks, layers that hide each other, pulls of focus, DaBiT's simulator."""
