"""The command line: the reference's JSON and flags, run as a workflow on a real ComfyUI.

Knows the host through its HTTP queue only; imports neither torch nor ComfyUI.
"""
