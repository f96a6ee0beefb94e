"""Signs of a masked gradient: each diagnostic marks images, (N,) bool; `audit` judges their share.

A masked gradient makes an attack fail where an adversarial example exists.  Every
diagnostic looks for something that cannot happen, or hardly, where the gradient is
honest (athalye2018, sec. 3.1; carlini2019).

>>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3))
>>> x, y = torch.rand(2, 1, 2, 2), torch.tensor([0, 1])
>>> zero_gradient(lambda x: net(x.round()), x, y, "ce").tolist()
[True, True]
>>> zero_gradient(net, x, y, "ce").tolist()
[False, False]
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from torch import Tensor, nn

from advlens import geometry
from advlens.attacks.boundary import spread
from advlens.attacks.gradient import fgsm, pgd
from advlens.attacks.losses import Loss, margin, named
from advlens.evaluation import Rate, classified_right, rate
from advlens.inputs import check_amount, frozen, image_gradient
from advlens.layers import Scale

class Finding(NamedTuple):
    """One diagnostic of an audit: the share of images that it marks, and what to do when they are too many.

    passed: the 95 % interval of the share reaches down to the threshold, so chance explains it.
    """

    name: str
    share: Rate
    threshold: float
    passed: bool
    reason: str


class Audit(NamedTuple):
    """What `audit` found: the findings, and the success of each attack that it ran at `eps`.  Prints as a table."""

    findings: tuple[Finding, ...]
    success: dict[str, Rate]
    eps: float

    @property
    def passed(self) -> bool:
        """No diagnostic shows an attack that is misled."""
        return all(f.passed for f in self.findings)

    @property
    def verdict(self) -> str:
        """One sentence, and the reason of each diagnostic that failed."""
        if self.passed:
            return "No sign of a masked gradient. That is no proof of robustness: it says that these attacks were not fooled."
        reasons = (f"- {f.reason}" for f in self.findings if not f.passed)
        return "\n".join(["The gradient misleads at least one attack: the robustness that this attack measures is not to be believed.", *reasons])

    def __str__(self) -> str:
        row = "{:<5}{:<33}{:>7}   {}".format
        lines = [row("ok" if f.passed else "FLAG", f.name, f"{f.share.value:.1%}", f"{f.share.low:.1%} to {f.share.high:.1%}") for f in self.findings]
        attacks = ", ".join(f"{name} {share.value:.0%}" for name, share in self.success.items())
        n, threshold = self.findings[0].share.n, self.findings[0].threshold
        head = row("", "share of images where", "", f"95 % interval; FLAG: all of it above {threshold:.0%}")
        return "\n".join([head, *lines, f"success at eps = {self.eps:.3g}, n = {n}: {attacks}", self.verdict])


# diagnostic -> what it means when it marks many images, and what to do next
ADVICE = {
    "two looks, two answers": "The model draws at random, so one gradient says little: attack EOT(model, transform, samples).",
    "margin gradient is 0": "The forward pass rounds or cuts the gradient away: attack BPDA(model, forward, backward).",
    "cross-entropy gradient alone is 0": "Cross-entropy no longer feels the image, its softmax is saturated: attack the margin, or divide the logits.",
    "margin beats cross-entropy": "The success depends on the loss: report the attack on the margin, not the one on cross-entropy.",
    "smaller logits beat the net's": "The size of the logits hides the gradient: divide them before the attack, or attack the margin.",
    "one step beats many": "One step finds what many miss, so the gradient misleads along the way: use smaller steps, restarts, BPDA or EOT.",
    "noise beats PGD": "Random noise finds what the gradient misses: the gradient does not point uphill. Use BPDA or an attack without gradients.",
    "unbounded attack fails": "With eps = 1 every image is in reach, and PGD still fails: it is the attack that is weak, not the net that is strong.",
    "transfer beats white box": "Another net's gradient finds what the model's own misses: attack by transfer, and look for what hides the gradient.",
}


def audit(model: nn.Module, x: Tensor, y: Tensor, *, eps: float | None = None, other: nn.Module | None = None,
          steps: int = 40, tolerance: float = 0.05, seed: int = 0) -> Audit:
    """Does this model only hide its gradient?  A set of diagnostics, which a net that was trained plainly passes.

    x, y: about 100 images (N, C, H, W) in [0, 1] and labels (N,); those that are classified
    right are used, in one batch.  eps: radius of the l-infinity ball, by default one at
    which about half the images fall.  other: a second net; adversarial examples for it
    must not beat the white box.  steps: of each PGD.  A diagnostic fails when the share
    of images that it marks lies above `tolerance` with its whole 95 % interval.
    A pass is no proof of robustness: it only says that these attacks were not fooled.
    Raises TypeError or ValueError for input outside the contract, and when no image is
    classified right.  Source: athalye2018, sec. 3.1; carlini2019; belaustegui2022, 3.2.
    """
    check_amount(tolerance, "tolerance")
    if tolerance >= 1:
        raise ValueError(f"tolerance = {tolerance}; give a share of the images below 1, such as 0.05")
    if eps is not None:
        check_amount(eps, "eps", above_zero=True)
    right = classified_right(model, x, y)
    if not right.any():
        raise ValueError(f"the model classifies none of the {len(x)} images right: there is nothing to audit")
    x, y = x[right].detach(), y[right]
    if eps is None:
        eps = telling_eps(model, x, y)
    fallen, marked = examine(model, x, y, eps, other, steps, seed)
    shares = {name: rate(images) for name, images in marked.items()}
    findings = tuple(Finding(name, share, tolerance, share.low <= tolerance, ADVICE[name]) for name, share in shares.items())
    return Audit(findings, {name: rate(images) for name, images in fallen.items()}, eps)


def examine(model: nn.Module, x: Tensor, y: Tensor, eps: float, other: nn.Module | None, steps: int,
            seed: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Run the attacks and the diagnostics on images that the model classifies right.

    Returns which images (N,) fall to each attack, and which images each diagnostic of ADVICE marks.
    """
    net = Connected(model)

    def falls(walked: nn.Module, loss: str = "margin", *, eps: float = eps, random_start: bool = True, first_success: bool = True) -> Tensor:
        """Which images (N,) fool the net after PGD on `walked`.  All walks start alike: what differs is not luck."""
        start = torch.Generator().manual_seed(seed)
        adversarial = pgd(walked, x, y, eps=eps, steps=steps, loss=loss, random_start=random_start, first_success=first_success, generator=start)
        return fooled(net, adversarial, y)

    with frozen(net), warnings.catch_warnings():
        warnings.simplefilter("ignore", geometry.ZeroGradientWarning)  # counted below
        smaller = nn.Sequential(net, Scale(1 / typical_margin(net, x, y)))
        fallen = {
            "cross-entropy": falls(net, "ce"),
            "margin": falls(net),
            "smaller logits": falls(smaller, "ce"),
            "one step": fooled(net, fgsm(net, x, y, eps=eps, loss="margin"), y),
            "noise": noise(net, x, y, eps, 2 * steps, torch.Generator().manual_seed(seed)),
            "unbounded": falls(net, eps=1.0, random_start=False),
        }
        if other is not None:  # to the end: what has only just fooled one net seldom fools another
            fallen["transfer"] = falls(other, first_success=False)
        white_box = fallen["cross-entropy"] | fallen["margin"]
        cut = zero_gradient(net, x, y, "margin")
        marked = {
            "two looks, two answers": unstable(net, x),
            "margin gradient is 0": cut,
            "cross-entropy gradient alone is 0": zero_gradient(net, x, y, "ce") & ~cut,
            "margin beats cross-entropy": fallen["margin"] & ~fallen["cross-entropy"],
            "smaller logits beat the net's": fallen["smaller logits"] & ~fallen["cross-entropy"],
            "one step beats many": fallen["one step"] & ~fallen["margin"],
            "noise beats PGD": fallen["noise"] & ~white_box,
            "unbounded attack fails": ~fallen["unbounded"],
        }
        if other is not None:
            marked["transfer beats white box"] = fallen["transfer"] & ~white_box
    return fallen, marked


class Connected(nn.Module):
    """The same logits; where the model cuts the graph the gradient is 0 instead of an error."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x) + 0 * x.flatten(1).sum(1, keepdim=True)


@torch.no_grad()
def fooled(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Which images (N,) the model does not classify as y."""
    return model(x).argmax(1) != y


@torch.no_grad()
def unstable(model: nn.Module, x: Tensor) -> Tensor:
    """Which images (N,) get other logits at a second look, by more than a thousandth of their spread."""
    first, again = model(x), model(x)  # (N, K)
    return (first - again).abs().amax(1) > 1e-3 * spread(first)


@torch.enable_grad()
def zero_gradient(model: nn.Module, x: Tensor, y: Tensor, loss: str | Loss) -> Tensor:
    """Which images (N,) have a gradient of the loss that is 0 in every pixel.

    In every pixel, not in the sum: positive and negative entries cancel there.
    """
    x = x.detach().requires_grad_()
    return (image_gradient(named(loss)(model(x), y), x) == 0).flatten(1).all(1)


@torch.no_grad()
def typical_margin(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """The median distance from the logit of y to the best other; 1 where it is no positive number."""
    distance = -margin(model(x), y).median().item()
    return distance if 0 < distance < float("inf") else 1.0


@torch.no_grad()
def noise(model: nn.Module, x: Tensor, y: Tensor, eps: float, tries: int, generator: torch.Generator) -> Tensor:
    """Which images (N,) fall to one of `tries` corners of the l-infinity ball, drawn at random for each image."""
    rows = torch.arange(len(x), device=x.device)  # the images that still stand
    for _ in range(tries):
        signs = torch.randint(0, 2, x.shape, generator=generator).to(x)[rows] * 2 - 1
        rows = rows[~fooled(model, (x[rows] + eps * signs).clamp_(0, 1), y[rows])]
        if len(rows) == 0:
            break
    return torch.ones_like(y, dtype=torch.bool).index_fill(0, rows, False)


def telling_eps(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """The first of 1, 1.4, 2, 2.8 ... 128 / 255 at which a short PGD on the margin fools half the images.

    Where nothing falls, or everything, two attacks cannot be told apart.
    """
    net = Connected(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", geometry.ZeroGradientWarning)
        for eps in (2 ** (k / 2) / 255 for k in range(15)):
            moved = pgd(net, x, y, eps=eps, steps=10, loss="margin", random_start=False, first_success=True)
            with frozen(net):
                if fooled(net, moved, y).float().mean() >= 0.5:
                    break
    return eps
