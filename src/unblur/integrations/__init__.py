"""Programs that load unblur: ComfyUI and VapourSynth. Thin; what they call is public."""
