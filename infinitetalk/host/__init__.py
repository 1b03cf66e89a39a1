"""The only library files that know ComfyUI: loading, attaching to a MODEL, sampling, VAE and audio encoder adapters."""
