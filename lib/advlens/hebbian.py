"""Learning without a teacher: plasticity rules, Oja, lateral inhibition, and Krotov-Hopfield.

A rule is a function that returns the change of the weights, averaged over the samples.
Everywhere x is what a layer of K units receives, (N, D), y what its units answer, (N, K),
and weights are (K, D), one row for each unit.

>>> x, weights = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.9, 0.1]])
>>> hebb(x, x @ weights.T)  # what fires together wires together
tensor([[0.4500, 0.0500]])
>>> bcm(x, x @ weights.T, threshold=0.5)  # the strong input grows, the weak one fades
tensor([[ 0.1800, -0.0200]])
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm

from advlens import kernels
from advlens.inputs import check_amount, check_float
from advlens.kernels.krotov_hopfield import currents

# --- rules for one synapse -----------------------------------------------------

def hebb(x: Tensor, y: Tensor) -> Tensor:
    """Hebb: dW = y x.  A synapse grows where both its ends are active; nothing stops it (hebb1949)."""
    _check_pair(x, y)
    return y.T @ x / len(x)


def anti_hebb(x: Tensor, y: Tensor) -> Tensor:
    """Anti-Hebb: dW = -y x, long-term depression where both ends are active (foldiak1990)."""
    return -hebb(x, y)


def clo(x: Tensor, y: Tensor, threshold: float) -> Tensor:
    """Cooper, Liberman and Oja: dW = phi(y) x, where phi is negative below a constant threshold.

    phi(y) = y (y - threshold) for y > 0, and 0 for a silent unit.  Source: cooper1979.
    """
    return bcm(x, y, threshold)


def bcm(x: Tensor, y: Tensor, threshold: float | Tensor) -> Tensor:
    """Bienenstock, Cooper and Munro: as `clo`, but each unit's threshold, (K,), follows its past: `slide`.

    A unit that was busy finds it harder to grow, a quiet one easier: unlike under Hebb,
    weights stay bounded.  Source: bienenstock1982.
    """
    active = y.clamp_min(0)
    return hebb(x, active * (active - threshold))


def slide(threshold: Tensor, y: Tensor, rate: float) -> Tensor:
    """BCM's new threshold (K,): it moves by `rate`, in (0, 1], towards the mean of y^2."""
    if not 0 < rate <= 1:
        raise ValueError(f"rate = {rate}; give more than 0 and at most 1")
    return threshold + rate * (y.pow(2).mean(0) - threshold)


def stdp(dt: Tensor, *, potentiation: float = 1.0, depression: float = 0.5, rise: float = 17.0,
         fall: float = 34.0) -> Tensor:
    """Spike timing: the change of a synapse for each delay dt = t_post - t_pre, in milliseconds.

    potentiation exp(-dt / rise) where the presynaptic spike came first, -depression exp(dt / fall)
    where it came last, 0 where both came together.  Shaped as dt.  Source: bi1998.
    """
    _check_positive(rise=rise, fall=fall)
    return torch.where(dt > 0, potentiation * (-dt / rise).exp(), -depression * (dt / fall).exp()) * (dt != 0)


def scaling(weights: Tensor, y: Tensor, target: float) -> Tensor:
    """Synaptic scaling: dW_i = W_i (target - mean activity of unit i).

    All synapses of a unit by one factor, so their ratios stay.  Source: turrigiano2008.
    """
    return weights * (target - y.mean(0))[:, None]


def oja(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Oja: dW = y x - y^2 W, Hebb with a leak that holds the norm of each row at 1.

    With y = W x a row converges to the first principal component of centred x.
    Source: oja1982.
    """
    return hebb(x, y) - y.pow(2).mean(0)[:, None] * weights


@torch.no_grad()
def first_component(x: Tensor, *, rate: float = 0.05, epochs: int = 20,
                    generator: torch.Generator | None = None) -> Tensor:
    """What one unit learns by Oja's rule from centred samples (N, D), one after the other: weights (D,).

    The rate, in units of 1 / (mean squared length of a sample), falls linearly to 0.
    Fewer than some hundred samples need more epochs.
    Raises ValueError for fewer than two samples, or samples that are all 0 or not finite.
    """
    _check_samples(x, "x", at_least=2)
    _check_positive(rate=rate, epochs=epochs)
    size = x.pow(2).sum(1).mean()
    if size == 0:
        raise ValueError("x is 0 everywhere: there is no direction to find")
    weights = torch.randn(1, x.shape[1], generator=generator).to(x)
    weights /= weights.norm()
    for epoch in range(epochs):
        for sample in x[torch.randperm(len(x), generator=generator)][:, None, :]:  # (1, D)
            weights += rate / size * (1 - epoch / epochs) * oja(sample, sample @ weights.T, weights)
    return weights[0]


# --- units that inhibit each other -----------------------------------------------

def settle(drive: Tensor, lateral: Tensor) -> Tensor:
    """Activities (N, K) of linear units that also hear each other: the solution of a = drive + L a."""
    return torch.linalg.solve(torch.eye(len(lateral)).to(lateral) - lateral, drive.T).T


@torch.no_grad()
def decorrelate(drive: Tensor, *, rate: float = 0.05, steps: int = 1000) -> Tensor:
    """Lateral weights L (K, K) learnt by dL_ij = -rate a_i a_j, i != j, averaged over the samples.

    drive: centred, (N, K).  It rests where no two activities a = `settle(drive, L)` correlate:
    each unit tells something that the others do not.  A rate near 1 / (variance of the drive)
    or above overshoots.  Source: foldiak1990; belaustegui2022, 2.1.
    Raises ValueError for input that is not a finite (N, K).
    """
    _check_samples(drive, "drive", at_least=2)
    _check_positive(rate=rate, steps=steps)
    lateral = drive.new_zeros(drive.shape[1], drive.shape[1])
    for _ in range(steps):
        a = settle(drive, lateral)  # (N, K)
        lateral += rate * anti_hebb(a, a).fill_diagonal_(0)
    return lateral


# --- Krotov-Hopfield: hidden units that compete ------------------------------------

class Competition(NamedTuple):
    """The course of a competition: times (T,), activities h (T, K) and weights (T, K, D)."""

    time: Tensor
    activity: Tensor
    weights: Tensor


def response(h: Tensor, threshold: float, delta: float) -> Tensor:
    """g(h): 1 from the threshold h* upwards, -delta from 0 up to it, 0 below 0 (krotov2019)."""
    return torch.where(h >= threshold, 1.0, torch.where(h >= 0, -delta, 0.0)).to(h)


@torch.no_grad()
def compete(weights: Tensor, image: Tensor, *, p: float = 2, threshold: float, delta: float = 0.4,
            inhibition: float = 0.5, tau: float = 1.0, tau_learning: float = 100.0, duration: float = 200.0,
            samples: int = 201) -> Competition:
    """The differential equations while one image (D,) is shown to K units with weights (K, D), h = 0 at first.

        tau dh_i/dt            = I_i - inhibition sum_{j != i} max(0, h_j) - h_i
        tau_learning dW_ik/dt  = g(h_i) (x_k - <W_i, x>_i W_ik)

    A row with g = 1 approaches the sphere sum_k |W_ik|^p = 1.  Solved together by SciPy in
    double precision; for small nets.  `learn` keeps only who wins: where two h are equal the
    larger current pulls ahead, so the order of the h becomes and stays that of the currents.
    Raises ValueError for input out of range.  Source: krotov2019, with R = 1.
    """
    from scipy.integrate import solve_ivp

    _check_samples(weights, "weights", at_least=2)
    _check_samples(image[None], "image")
    _check_rule(p, delta)
    _check_positive(tau=tau, tau_learning=tau_learning, duration=duration)
    units, d = weights.shape
    if image.shape != (d,):
        raise ValueError(f"image has shape {tuple(image.shape)}, the weights are {(units, d)}: give ({d},)")
    x = image.double().cpu()

    def change(_, state):
        state = torch.as_tensor(state)
        h, w = state[:units], state[units:].view(units, d)
        drive = currents(w, x[None], p=p)[0]  # (K,)
        heard = h.clamp_min(0).sum() - h.clamp_min(0)
        dh = (drive - inhibition * heard - h) / tau
        dw = response(h, threshold, delta)[:, None] * (x - drive[:, None] * w) / tau_learning
        return torch.cat([dh, dw.flatten()]).numpy()

    start = torch.cat([x.new_zeros(units), weights.double().cpu().flatten()]).numpy()
    times = torch.linspace(0, duration, samples, dtype=torch.float64)
    found = solve_ivp(change, (0, duration), start, t_eval=times.numpy(), rtol=1e-6, atol=1e-9)
    course = torch.as_tensor(found.y.T)  # (T, K + K*D)
    return Competition(times, course[:, :units], course[:, units:].reshape(-1, units, d))


@torch.no_grad()
def learn(images: Tensor, hidden: int, *, p: float = 2, k: int = 2, delta: float = 0.4, step: float = 0.02,
          epochs: int = 100, batch_size: int = 100, generator: torch.Generator | None = None,
          progress: bool = False) -> Tensor:
    """Weights (hidden, D) learnt from images (N, D) without labels, by the rank rule.

    For each image the unit with the largest current learns (g = 1), the one of rank k
    unlearns (g = -delta), the others rest.  Ranks count from 1, the winner, so k = 2
    punishes the runner-up (here text and code of belaustegui2022 differ by one).  The change of
    a mini-batch is divided by its largest absolute entry; `step` falls linearly to 0.  From
    N(0, 1), rows that win end on the sphere sum_d |W_id|^p = 1 when epochs x step suffices.
    Others stay elsewhere, and of a few units with p = 2 often one wins every image.
    p: at least 2.  k: 2 to hidden.  Raises TypeError or ValueError for input out of range.
    Source: krotov2019; belaustegui2022, 2.
    """
    _check_samples(images, "images")
    _check_rule(p, delta)
    _check_positive(step=step, epochs=epochs, batch_size=batch_size)
    if not 2 <= k <= hidden:
        raise ValueError(f"k = {k} with {hidden} hidden units; the rank that is punished lies in 2 to {hidden}")
    update_ = kernels.implementation("krotov_hopfield", images.device.type, images.dtype).update_
    home = generator.device if generator is not None else images.device
    weights = torch.randn(hidden, images.shape[1], generator=generator, device=home).to(images.device)
    weights = weights.to(torch.promote_types(images.dtype, torch.float32))  # images may be bfloat16, weights are not
    batches = math.ceil(len(images) / batch_size)
    for epoch in tqdm(range(epochs), desc="learning without labels", unit="epoch", disable=not progress):
        order = torch.randperm(len(images), generator=generator, device=home).to(images.device)
        for batch, rows in enumerate(order.split(batch_size)):
            done = (epoch * batches + batch) / (epochs * batches)
            update_(weights, images[rows], p=p, k=k, delta=delta, step=step * (1 - done))
    return weights


# --- input ---------------------------------------------------------------------------

def _check_samples(x: Tensor, name: str, at_least: int = 1) -> None:
    """Raise unless x is a finite floating-point (N, D) with enough rows."""
    check_float(x, name, "(N, D)")
    if x.ndim != 2 or len(x) < at_least or x.shape[1] == 0:
        raise ValueError(f"{name} has shape {tuple(x.shape)}; "
                         f"give (N, D) with N >= {at_least}, for images x.flatten(1)")
    if not torch.isfinite(x).all():
        raise ValueError(f"{name} holds NaN or infinity")


def _check_pair(x: Tensor, y: Tensor) -> None:
    if x.ndim != 2 or y.ndim != 2 or len(x) != len(y) or len(x) == 0:
        raise ValueError(f"x has shape {tuple(x.shape)} and y {tuple(y.shape)}; "
                         "give (N, D) and (N, K) with the same N > 0")


def _check_rule(p: float, delta: float) -> None:
    if not 2 <= p < math.inf:
        raise ValueError(f"p = {p}; the rule needs p >= 2, finite")
    check_amount(delta, "delta")


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        check_amount(value, name, above_zero=True)
