"""Fast minimum norm: the smallest largest change of a pixel that fools, in a fixed number of steps.

>>> import torch
>>> net = torch.nn.Flatten()  # four pixels, four classes: which pixel is the brightest?
>>> x, y = torch.tensor([[[[0.9, 0.5], [0.1, 0.3]]]]), torch.tensor([0])
>>> round((fmn(net, x, y) - x).abs().max().item(), 2)  # both pixels give way by half of 0.4
0.2
"""

from torch import Tensor, nn

from advlens.attacks.ddn import decoupled


def fmn(model: nn.Module, x: Tensor, y: Tensor, *, norm: str = "linf", steps: int = 100, gamma: float = 0.1,
        targeted: bool = False) -> Tensor:
    """Fast minimum norm: small perturbations in the l-infinity norm, or the l2 norm.

    Each step turns the perturbation by steepest ascent and clamps it to a ball, whose radius
    then shrinks by the share gamma where the step succeeded, and grows by it where not.

    x: images (N, C, H, W) in [0, 1].  y: labels (N,), or targets when `targeted`.
    norm: "linf" or "l2".  Returns the smallest success met; x itself where there was none,
    and where x succeeds already.  Warns (ZeroGradientWarning) where the gradient vanishes.
    Cost: steps x (forward + backward), and one forward pass that judges the last point.
    Raises TypeError or ValueError for input outside the contract.

    The loop is that of `ddn`, with its first radius, its sharpened log-odds and its fading
    turn; unlike the source, the radius follows no estimate on the way, and the step
    is as long as the ball's radius allows: on trained nets that ends nearer.
    Source: pintor2021, algorithm 1.
    """
    return decoupled(model, x, y, norm=norm, steps=steps, gamma=gamma, targeted=targeted)
