"""The files of the talking model in ComfyUI's own nodes: they are Wan files to it, without this pack's sampler."""

from __future__ import annotations

from pathlib import Path

from demo import talking_model

FRAMES = 5


def test_the_hosts_own_loaders_and_sampler_take_the_files(server):
    """Load Diffusion Model, Load VAE, WanImageToVideo and KSampler, from the sample picture to pictures."""
    embeds, picture = ["3", 0], ["4", 0]
    conditions = {"positive": embeds, "negative": ["3", 1], "clip_vision_output": ["3", 2], "start_image": picture}
    size = {"width": 64, "height": 64, "length": FRAMES, "batch_size": 1}
    sampling = {"seed": 1, "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    links = {"model": ["1", 0], "positive": ["5", 0], "negative": ["5", 1], "latent_image": ["5", 2]}
    nodes = {
        "1": ("UNETLoader", {"unet_name": Path(talking_model.DIT).name, "weight_dtype": "default"}),
        "2": ("VAELoader", {"vae_name": Path(talking_model.VAE).name}),
        "3": ("InfiniteTalkLoadEmbeds", {"embeds": Path(talking_model.EMBEDS).name}),
        "4": ("LoadImage", {"image": "face.png"}),
        "5": ("WanImageToVideo", {**conditions, **size, "vae": ["2", 0]}),
        "6": ("KSampler", {**links, **sampling}),
        "7": ("VAEDecode", {"samples": ["6", 0], "vae": ["2", 0]}),
        "8": ("PreviewImage", {"images": ["7", 0]}),
    }
    history = server.queue({node: {"class_type": kind, "inputs": inputs} for node, (kind, inputs) in nodes.items()})
    assert len(history["outputs"]["8"]["images"]) == FRAMES
