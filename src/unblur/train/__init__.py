"""One loop that trains every network: recipes, losses, averaging, checkpoints, validation.

Imports nothing of `video`, so that it runs on machines that have PyTorch and little else.
"""
