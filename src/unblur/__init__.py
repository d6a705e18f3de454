"""unblur makes blurred video sharp: video file in, video file out."""

__version__ = "0.1.0"
