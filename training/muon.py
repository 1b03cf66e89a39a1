"""Muon for many small matrices: torch's own optimizer, with one batched product for all matrices of a shape.

torch.optim.Muon brings each matrix's update near an orthogonal one by itself, some twenty small GPU programs a matrix;
for the 78 matrices of the small DiT starting them takes longer than all the rest of the step. Knows no model.

Source: Keller Jordan, "Muon: An optimizer for hidden layers in neural networks" (2024); the scaling to AdamW's rates is
that of Liu et al., "Muon is scalable for LLM training" (2025), torch's "match_rms_adamw".
"""

from __future__ import annotations

import math

import torch


class Muon(torch.optim.Muon):
    """torch.optim.Muon with adjust_lr_fn "match_rms_adamw": the same numbers up to bfloat16's rounding."""

    def __init__(self, params: list[torch.Tensor], lr: float, weight_decay: float):
        super().__init__(params, lr, weight_decay, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """One step on the gradients that are there; there is no closure to call."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[torch.Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    shapes.setdefault(parameter.shape, []).append(parameter)
            for shape, parameters in shapes.items():
                gradients = [parameter.grad for parameter in parameters]
                moments = [self._moment(parameter) for parameter in parameters]
                torch._foreach_lerp_(moments, gradients, 1 - group["momentum"])
                ahead = torch._foreach_lerp(gradients, moments, group["momentum"])  # Nesterov's
                updates = orthogonal(torch.stack(ahead), group["ns_coefficients"], group["ns_steps"], group["eps"])
                torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
                rate = group["lr"] * 0.2 * math.sqrt(max(shape))
                torch._foreach_add_(parameters, list(updates.to(parameters[0].dtype).unbind()), alpha=-rate)

    def _moment(self, parameter: torch.Tensor) -> torch.Tensor:
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        return state["momentum_buffer"]


def orthogonal(matrices: torch.Tensor, terms: tuple[float, float, float], steps: int, least: float) -> torch.Tensor:
    """Matrices [n, rows, columns] with singular values brought near 1 by Newton-Schulz steps, in bfloat16."""
    a, b, c = terms
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).bfloat16()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=least)  # no singular value above 1
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x
