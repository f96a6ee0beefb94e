"""Signs of a masked gradient: each diagnostic flags images, (N,) bool; `audit` judges their share.

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

import warnings
from typing import NamedTuple

import torch
from torch import Tensor, nn

from advlens import geometry
from advlens.attacks.boundary import spread
from advlens.attacks.gradient import fgsm, pgd
from advlens.attacks.losses import Loss, margin, named
from advlens.attacks.noise import noise
from advlens.data import Dataset
from advlens.evaluation import Rate, classified_right, images_and_labels, rate
from advlens.inputs import Model, check_amount, device_of, forward, frozen, image_gradient
from advlens.layers import Scale


class Finding(NamedTuple):
    """One diagnostic of an audit: the share of images that it flags, and what to do when they are too many.

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
            return ("No sign of a masked gradient. That is no proof of robustness: it says that these attacks were not "
                "fooled.")
        reasons = (f"- {f.reason}" for f in self.findings if not f.passed)
        return "\n".join(["The gradient misleads at least one attack: the robustness that this attack measures is not "
                          "to be believed.", *reasons])

    def __str__(self) -> str:
        head = f"     share of images where (FLAG: all of it above {self.findings[0].threshold:.0%})"
        lines = [f"{'ok' if f.passed else 'FLAG':<5}{f.name:<35}{f.share}" for f in self.findings]
        attacks = ", ".join(f"{name} {share.value:.0%}" for name, share in self.success.items())
        return "\n".join([head, *lines, f"success at eps = {self.eps:.3g}: {attacks}", self.verdict])


# diagnostic -> what it means when it flags many images, and what to do next
ADVICE = {
    "two forward passes differ":
        "The model draws at random, so one gradient says little: attack EOT(model, transform, samples).",
    "margin gradient is 0": "The forward pass rounds or cuts the gradient away: attack BPDA(model, forward, backward).",
    "cross-entropy gradient alone is 0": "In float32 the gradient of the cross-entropy is lost, its softmax is "
                                         "saturated: attack the margin or the log-odds (our \"ce\").",
    "margin beats cross-entropy": "The success depends on the loss: report the attack on the margin or the log-odds, "
                                  "not the one on cross-entropy.",
    "smaller logits beat the net's":
        "The size of the logits hides the gradient: divide them before the attack, or attack the margin.",
    "one step beats many": "One step finds what many miss, so the gradient misleads along the way: use smaller steps, "
                           "restarts, BPDA or EOT.",
    "noise beats PGD": "Random noise finds what the gradient misses: the gradient does not point uphill. Use BPDA or "
                       "an attack without gradients.",
    "unbounded attack fails": "With eps = 1 every image is in reach, and PGD still fails: it is the attack that is "
                              "weak, not the net that is strong.",
    "transfer beats white box": "Another net's gradient finds what the model's own misses: attack by transfer, and "
                                "look for what hides the gradient.",
}


def audit(model: Model, x: Tensor | Dataset, y: Tensor | None = None, *, eps: float | None = None,
          other: Model | None = None, steps: int = 40, tolerance: float = 0.05, seed: int = 0) -> Audit:
    """Does this model only hide its gradient?  A set of diagnostics, which a net that was trained plainly passes.

    x, y: about 100 images (N, C, H, W) in [0, 1] and labels (N,), or a Dataset; those that are
    classified right are used, in one batch.  eps: radius of the l-infinity ball, by default one
    at which about half the images are fooled.  other: a second net; adversarial examples for it
    must not beat the white box.  steps: of each PGD.  A diagnostic fails when the share
    of images that it flags lies above `tolerance` with its whole 95 % interval.
    A pass is no proof of robustness: it only says that these attacks were not misled.
    Raises TypeError or ValueError for input outside the contract, and when no image is
    classified right.  Source: athalye2018, sec. 3.1; carlini2019; belaustegui2022, 3.2.
    """
    check_amount(tolerance, "tolerance")
    if tolerance >= 1:
        raise ValueError(f"tolerance = {tolerance}; give a share of the images below 1, such as 0.05")
    if eps is not None:
        check_amount(eps, "eps", above_zero=True)
    x, y = images_and_labels(x, y)
    right = classified_right(model, x, y)
    if not right.any():
        raise ValueError(f"the model classifies none of the {len(x)} images right: there is nothing to audit")
    device = device_of(model, x)
    x, y = x[right].detach().to(device), y[right].to(device)
    if eps is None:
        eps = median_eps(model, x, y)
    success, flagged = examine(model, x, y, eps, other, steps, seed)
    findings = tuple(Finding(name, share := rate(images), tolerance, share.low <= tolerance, ADVICE[name])
                     for name, images in flagged.items())
    return Audit(findings, {name: rate(images) for name, images in success.items()}, eps)


def examine(model: Model, x: Tensor, y: Tensor, eps: float, other: Model | None, steps: int,
            seed: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Run the attacks and the diagnostics on images that the model classifies right.

    Returns which images (N,) each attack fools the model on, and which images each diagnostic of ADVICE flags.
    """
    net = Connected(model)
    generator = lambda: torch.Generator().manual_seed(seed)  # every attack starts alike: what differs is not luck

    def pgd_fools(source: Model, loss: str = "margin", *, eps: float = eps, random_start: bool = True,
                  first_success: bool = True) -> Tensor:
        """Which images (N,) fool the net after PGD on `source`."""
        device = device_of(source, x)
        adversarial = pgd(source, x.to(device), y.to(device), eps=eps, steps=steps, loss=loss,
                          random_start=random_start, first_success=first_success, generator=generator())
        return fooled(net, adversarial.to(x.device), y)

    with frozen(net), warnings.catch_warnings():
        warnings.simplefilter("ignore", geometry.ZeroGradientWarning)  # counted below
        smaller = nn.Sequential(net, Scale(1 / median_margin(net, x, y)))
        success = {
            "cross-entropy": pgd_fools(net, "naive_ce"),
            "margin": pgd_fools(net),
            "smaller logits": pgd_fools(smaller, "naive_ce"),
            "one step": fooled(net, fgsm(net, x, y, eps=eps, loss="margin"), y),
            "noise": fooled(net, noise(net, x, y, eps=eps, draws=2 * steps, generator=generator()), y),
            "unbounded": pgd_fools(net, eps=1.0, random_start=False),
        }
        if other is not None:  # to the end: what has only just fooled one net seldom fools another
            success["transfer"] = pgd_fools(other, first_success=False)
        white_box = success["cross-entropy"] | success["margin"]
        cut = zero_gradient(net, x, y, "margin")
        flagged = {
            "two forward passes differ": randomised(net, x),
            "margin gradient is 0": cut,
            "cross-entropy gradient alone is 0": zero_gradient(net, x, y, "naive_ce") & ~cut,
            "margin beats cross-entropy": success["margin"] & ~success["cross-entropy"],
            "smaller logits beat the net's": success["smaller logits"] & ~success["cross-entropy"],
            "one step beats many": success["one step"] & ~success["margin"],
            "noise beats PGD": success["noise"] & ~white_box,
            "unbounded attack fails": ~success["unbounded"],
        }
        if other is not None:
            flagged["transfer beats white box"] = success["transfer"] & ~white_box
    return success, flagged


class Connected(nn.Module):
    """The same logits; where the model cuts the graph the gradient is 0 instead of an error."""

    def __init__(self, model: Model):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return forward(self.model, x) + 0 * x.flatten(1).sum(1, keepdim=True)


@torch.no_grad()
def fooled(model: Model, x: Tensor, y: Tensor) -> Tensor:
    """Which images (N,) the model does not classify as y."""
    return forward(model, x).argmax(1) != y


@torch.no_grad()
def randomised(model: Model, x: Tensor) -> Tensor:
    """Which images (N,) get other logits in a second forward pass, by more than a thousandth of their spread."""
    first, second = forward(model, x), forward(model, x)  # (N, K)
    return (first - second).abs().amax(1) > 1e-3 * spread(first)


@torch.enable_grad()
def zero_gradient(model: Model, x: Tensor, y: Tensor, loss: str | Loss) -> Tensor:
    """Which images (N,) have a gradient of the loss that is 0 in every pixel.

    In every pixel, not in the sum: positive and negative entries cancel there.
    """
    x = x.detach().requires_grad_()
    return (image_gradient(named(loss)(forward(model, x), y), x) == 0).flatten(1).all(1)


@torch.no_grad()
def median_margin(model: Model, x: Tensor, y: Tensor) -> float:
    """The median distance from the logit of y to the best other; 1 where it is no positive number."""
    distance = -margin(forward(model, x), y).median().item()
    return distance if 0 < distance < float("inf") else 1.0


def median_eps(model: Model, x: Tensor, y: Tensor) -> float:
    """The first of 1, 1.4, 2, 2.8 ... 128 / 255 at which a short PGD on the margin fools half the images.

    Where it fools none, or all, two attacks cannot be told apart.
    """
    net = Connected(model)
    with frozen(net), warnings.catch_warnings():
        warnings.simplefilter("ignore", geometry.ZeroGradientWarning)
        for eps in (2 ** (k / 2) / 255 for k in range(15)):
            adversarial = pgd(net, x, y, eps=eps, steps=10, loss="margin", random_start=False, first_success=True)
            if fooled(net, adversarial, y).float().mean() >= 0.5:
                break
    return eps
