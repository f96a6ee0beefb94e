"""Pairwise differences, forward and backward: half the pairs, all pairs, and the dense layer that stores them all.

Goal: never slower than the dense layer, with at most 2 x (inputs + weights + outputs) of
extra memory.  No peer library has this layer; the dense one is plain torch.
"""

from __future__ import annotations

import os
from functools import partial
from itertools import accumulate
from typing import Callable

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

import compare
from advlens.layers import PairwiseDifference, halved

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler would write two lines for every run

# samples, inputs, outputs: the first and a hidden layer of S3's net, and 5x5 patches of 16 MNIST images
CASES = [(20, 784, 10), (128, 100, 100), (16 * 576, 25, 8)]


def dense(layer: PairwiseDifference, v: torch.Tensor) -> torch.Tensor:
    """The full layer as one writes it down: all N x n^2 sigmoids at once."""
    return torch.sigmoid(v[:, :, None] - v[:, None, :]).flatten(1) @ layer.weight.flatten(1).T + layer.bias


def step(layer: nn.Module | Callable, parameters: list[nn.Parameter], v: torch.Tensor) -> list[torch.Tensor]:
    """Output, and gradients to inputs and parameters."""
    out = layer(v)
    return [out.detach(), *torch.autograd.grad(out.sum(), [v, *parameters])]


def extra(function: Callable[[], object]) -> int:
    """Bytes that torch held at once beyond what was there before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        function()
    events = sorted((e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"),
                    key=lambda e: e.start_ns())
    return max(accumulate(e.nbytes() for e in events))


def block(samples: int, n: int, outputs: int, repetitions: int) -> str:
    """One size: times, how far the results differ, and memory."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        full = PairwiseDifference(n, outputs, full=True)
    half, v = halved(full), torch.rand(samples, n, generator=generator).requires_grad_()
    sides = {"ours, n (n - 1) / 2 pairs": partial(step, half, list(half.parameters()), v),
             "ours, n^2 pairs": partial(step, full, list(full.parameters()), v),
             "plain torch, n^2 stored": partial(step, partial(dense, full), list(full.parameters()), v)}
    results = [side() for side in sides.values()]
    apart = max((a - b).abs().max() / b.abs().max() for other in results[:2] for a, b in zip(other[:2], results[2]))
    memory = []
    for (name, side), layer in zip(sides.items(), (half, full, full)):
        given = 4 * (v.numel() + samples * outputs + sum(p.numel() for p in layer.parameters()))
        held = extra(side)
        memory.append(f"{held / 1e6:.1f} MB = {held / given:.2f} x (inputs + weights + outputs, {given / 1e6:.1f} MB)")
    note = f"outputs and input gradients differ by {apart:.0e} at most; peak extra memory: " + "; ".join(memory)
    return compare.times(f"Pairwise difference, {samples} x {n} -> {outputs}",
                         "ours not slower than stored, memory at most 2 x", sides, note=note, repetitions=repetitions)


def table(repetitions: int = 5) -> str:
    """One block for each size of CASES."""
    return "\n\n".join(block(*case, repetitions) for case in CASES)


if __name__ == "__main__":
    print(compare.HEADER)
    print(table())
