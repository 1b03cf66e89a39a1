"""The command line: the reference's JSON and flags, run as a workflow on a real ComfyUI.

Knows the host through its HTTP queue only and imports nothing of ComfyUI; torch only to look into given files.
"""
