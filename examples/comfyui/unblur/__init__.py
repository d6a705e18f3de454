"""Copy this folder into ComfyUI's `custom_nodes`, and install unblur into ComfyUI's Python."""

from unblur.integrations.comfyui import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
