"""The node pack as ComfyUI imports it: the entry point and the folder with its scripts and node documents."""

from .nodes import comfy_entrypoint

WEB_DIRECTORY = "./js"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
