"""A fitted clip: stored, rendered, edited, refocused, and its optical flow."""
