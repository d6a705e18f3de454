"""A clip taken apart into sharp layers, to be edited, refocused and measured.

`open` reads a project folder; a `Project` renders, is edited and refocused, and knows the flow
between any two of its frames. Method: Ruan et al., Video Defocus Deblurring with Atlas Learning
(SIGGRAPH 2024).
"""

from unblur.atlas.project.clip import Layer
from unblur.atlas.project.project import Project
from unblur.atlas.project.project import open_project as open

__all__ = ["Layer", "Project", "open"]
