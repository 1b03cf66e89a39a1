"""Tests: `unit` needs no host, `parity` compares with recorded reference outputs, `host` and `browser` run ComfyUI."""
