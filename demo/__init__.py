"""The demonstration: a small model, a picture and a voice, and what is needed to run workflows on a real ComfyUI."""
