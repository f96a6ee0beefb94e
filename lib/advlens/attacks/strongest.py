"""The strongest attack we have: several that fail for different reasons, each only on what the others left.

>>> net = torch.nn.Flatten()  # four pixels, four classes: which pixel is the brightest?
>>> x, y = torch.tensor([[[[0.9, 0.5], [0.1, 0.3]]]]), torch.tensor([0])
>>> felled_by(net, x, y, eps=0.19).by, felled_by(net, x, y, eps=0.21).by  # the nearest tie lies at 0.4 / 2
((None,), ('log-odds',))
"""

import warnings
from functools import partial
from typing import Callable, NamedTuple

import torch
from torch import Tensor, nn

from advlens import geometry
from advlens.attacks.apgd import apgd
from advlens.attacks.ddn import ddn
from advlens.attacks.fast_minimum_norm import fmn
from advlens.attacks.losses import log_odds, margin, others, own
from advlens.attacks.square import square
from advlens.inputs import check_eps, check_images, check_labels, check_logits, forward, frozen


class Stage(NamedTuple):
    """A walk with what still stands: Auto-PGD, or without a loss the minimum-norm attack."""

    name: str
    loss: str | None
    steps: int
    targets: int = 0  # 0: away from the label; else to so many classes in turn, the nearest first


STANDARD = (Stage("log-odds", "ce", 20), Stage("each target", "dlr", 20, 9), Stage("minimum norm", None, 100),
            Stage("near targets, margin", "margin", 50, 4), Stage("near targets, DLR", "dlr", 100, 3),
            Stage("nearest target, log-odds", "ce", 100, 1))
STAGES = {"standard": STANDARD,
          "thorough": (*STANDARD, Stage("long walks, DLR", "dlr", 300, 9), Stage("long walks, log-odds", "ce", 300, 9))}
TRIAL, QUERIES = 300, 5000  # points that the score-based part tries: first, and where it goes on in full


class Felled(NamedTuple):
    """What the strongest attack found, and what found it."""

    images: Tensor                # (N, C, H, W)
    by: tuple[str | None, ...]    # the part that felled each, "clean" where x was wrong already, None where it stands


class _Front(NamedTuple):
    """The whole batch, and how far the attack has come with it.  Written in place."""

    x: Tensor       # (N, C, H, W)
    y: Tensor       # (N,)
    eps: Tensor     # (N,)
    images: Tensor  # (N, C, H, W) the strongest so far
    margin: Tensor  # (N,) there
    reach: Tensor   # (N, K) the largest margin on the way to each class; at first that of the class itself at x
    by: list[str | None]


def strongest(model: nn.Module, x: Tensor, y: Tensor, *, eps: float | Tensor, norm: str = "linf",
              effort: str = "standard", generator: torch.Generator | None = None) -> Tensor:
    """The worst case over complementary attacks, each only on the images that still stand, cheapest first.

    1. Auto-PGD along the log-odds, 20 steps: fells most of what can fall.
    2. Auto-PGD towards each other class (the nine nearest), 20 steps of the targeted DLR: says which are in reach.
    3. The minimum-norm attack (`fmn`, in l2 `ddn`), which counts where it ends inside the ball.
    4. Longer walks to the classes that came nearest, with the margin, DLR and log-odds.
    5. The Square attack, which needs no gradient: 300 queries, and all 5,000 for an image where
       these came further than everything before.  On trained nets they do not; where a
       gradient is masked, zero or cut they do.
    effort="thorough" adds walks of 300 steps to all nine classes, and always queries in full.

    This list was chosen on other images than those it is judged on.  Many targets for a few
    steps, then few targets for many, left fewer images than restarts or long walks away from
    the label, at a fraction of their passes; each of the three losses, and the minimum-norm
    attack, felled images that the others left.

    x: images (N, C, H, W) in [0, 1].  y: labels (N,).  eps: a number or (N,), in pixel units.
    norm: "linf" or "l2".  generator: makes it repeatable; all random numbers are shared by the
    images of a call.  Returns, for each image, the first success met, or else the point in the
    ball with the largest margin; x itself where it is wrong already.
    Warns (ZeroGradientWarning) where the gradient at x is 0, and where the model cuts its logits
    off from the images: then only the Square attack runs.
    Raises TypeError or ValueError for input outside the contract.
    Source: the idea of an ensemble, each part on what stands: croce2020, sec. 6.
    """
    return felled_by(model, x, y, eps=eps, norm=norm, effort=effort, generator=generator).images


def felled_by(model: nn.Module, x: Tensor, y: Tensor, *, eps: float | Tensor, norm: str = "linf",
              effort: str = "standard", generator: torch.Generator | None = None) -> Felled:
    """`strongest`, and for each image the name of the part that felled it: what it contributes.  Source: as there.

    >>> net, x = torch.nn.Flatten(), torch.tensor([[[[0.9, 0.5], [0.1, 0.3]]]])
    >>> felled_by(net, x, torch.tensor([2]), eps=0.1).by  # wrong before any attack
    ('clean',)
    """
    check_images(x)
    check_labels(y, len(x))
    geometry.check_norm(norm, geometry.BALLS)
    if effort not in STAGES:
        raise ValueError(f"unknown effort {effort!r}; known: {', '.join(STAGES)}")
    with frozen(model):
        front, alive = _begin(model, x.detach(), y, check_eps(eps, x))
        if alive is None or not alive.all():
            warnings.warn(f"{_lack(alive)}. A masked gradient is not robustness.", geometry.ZeroGradientWarning, 2)
        if alive is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", geometry.ZeroGradientWarning)  # said once, above
                for stage in STAGES[effort]:
                    _walk(model, front, stage, norm, generator)
        _query(model, front, norm, effort, generator)
    return Felled(front.images, tuple(front.by))


def _begin(model, x, y, eps) -> tuple[_Front, Tensor | None]:
    """The clean images, judged; and which have a gradient that is not 0, (N,), or None where the model cuts it off."""
    with torch.enable_grad():
        point = x.clone().requires_grad_()
        logits = forward(model, point)  # (N, K)
        check_logits(logits, x, y)
        value, alive = log_odds(logits, y), None
        if value.requires_grad:
            gradient, = torch.autograd.grad(value.sum(), point, allow_unused=True)
            alive = None if gradient is None else geometry.norm(gradient, "linf") > 0
    logits = logits.detach()
    by = ["clean" if wrong else None for wrong in (logits.argmax(1) != y).tolist()]
    reach = others(logits, y) - own(logits, y)[:, None]
    return _Front(x, y, eps, x.clone(), margin(logits, y), reach, by), alive


def _lack(alive: Tensor | None) -> str:
    """What there is to warn of."""
    if alive is None:
        return "the model cuts its logits off from the images: no gradient to follow, so only the Square attack runs"
    return f"the input gradient is exactly 0 for {int((~alive).sum())} of {len(alive)} images: walks are random there"


def _standing(front: _Front) -> Tensor:
    """The rows of the images that still stand, (n,)."""
    rows = [row for row, by in enumerate(front.by) if by is None]
    return torch.tensor(rows, dtype=torch.int64, device=front.x.device)


def _walk(model, front: _Front, stage: Stage, norm, generator) -> None:
    """One stage: each target is tried on the images that no earlier one felled."""
    if stage.loss is None:
        _strike(model, front, stage.name, _standing(front), partial(_nearest, model, norm=norm, steps=stage.steps))
        return
    nearest = front.reach.argsort(1, descending=True)  # (N, K), the label last
    classes = nearest.shape[1]
    walk = partial(apgd, model, norm=norm, steps=stage.steps, first_success=True, generator=generator,
                   loss="margin" if stage.loss == "dlr" and classes < 4 else stage.loss, targeted=stage.targets > 0)
    if stage.targets == 0:
        _strike(model, front, stage.name, _standing(front), walk)
    for rank in range(min(stage.targets, classes - 1)):
        rows = _standing(front)
        target = nearest[rows, rank]
        reached = _strike(model, front, stage.name, rows, lambda x, y, eps: walk(x, target, eps=eps))
        front.reach[rows, target] = torch.maximum(front.reach[rows, target], reached)


def _query(model, front: _Front, norm, effort, generator) -> None:
    """The score-based part: a trial on all that stand, then in full where it came further than the gradients."""
    search = partial(square, model, norm=norm, generator=generator)
    rows = _standing(front)
    if effort == "standard":
        before = front.margin[rows]
        reached = _strike(model, front, "square", rows, partial(search, queries=TRIAL))
        rows = rows[(reached > before) & (reached <= 0)]  # a margin above 0 is success
    _strike(model, front, "square", rows, partial(search, queries=QUERIES))


def _strike(model, front: _Front, name: str, rows: Tensor, attack: Callable[..., Tensor]) -> Tensor:
    """Attack these rows and keep what is stronger; returns the margin reached (n,)."""
    if len(rows) == 0:
        return front.margin[rows]
    images = attack(front.x[rows], front.y[rows], eps=front.eps[rows])
    with torch.no_grad():
        logits = forward(model, images)  # (n, K)
    reached, wrong = margin(logits, front.y[rows]), logits.argmax(1) != front.y[rows]
    better = wrong | (reached > front.margin[rows])
    front.images[rows[better]], front.margin[rows[better]] = images[better], reached[better]
    for row in rows[wrong].tolist():
        front.by[row] = name
    return reached


def _nearest(model, x, y, *, eps, norm, steps) -> Tensor:
    """What the minimum-norm attack finds, drawn back onto the edge of the ball where it ends outside."""
    images = ddn(model, x, y, steps=steps) if norm == "l2" else fmn(model, x, y, steps=steps)
    return (x + geometry.project(images - x, eps, norm)).clamp_(0, 1)
