"""Box-constrained L-BFGS: the optimiser against SciPy's, the attack against known optima.  Its contract:
test_contract.py.
"""

from __future__ import annotations

import warnings
from functools import partial

import pytest
import torch
from torch import nn

from advlens.attacks import lbfgs
from advlens.attacks.lbfgs import _query, minimise
from advlens.evaluation import evaluate, logits
from advlens.geometry import ZeroGradientWarning
from advlens.inputs import frozen
from nets import After

quick = partial(lbfgs, searches=4, steps=15)
both = pytest.mark.parametrize("targeted", [False, True])


def unsolved(model, x, targeted):
    """Labels that the images have, or targets that they do not have: every image has to move."""
    z = logits(model, x)
    return (z.argmax(1) + targeted) % z.shape[1]


# --- the optimiser ----------------------------------------------------------------------

def szegedy(model, x, target, c):
    """c ||r||^2 + cross-entropy to the target, as `minimise` and SciPy want it."""
    def objective(points, rows):
        image = points.view(-1, *x.shape[1:])
        loss, gradient, _ = _query(model, image, target[rows], True)
        r = image - x[rows]
        return c * r.pow(2).flatten(1).sum(1) + loss, (2 * c * r + gradient).flatten(1)
    return objective


def scipys(objective, start):
    """The same functions, one after the other, by SciPy's L-BFGS-B: values (N,)."""
    optimize = pytest.importorskip("scipy.optimize")

    def one(i):
        def function(point):
            value, gradient = objective(torch.from_numpy(point)[None], torch.tensor([i]))
            return value.item(), gradient[0].numpy()
        return optimize.minimize(function, start[i].numpy(), jac=True, method="L-BFGS-B",
                                 bounds=[(0, 1)] * start.shape[1],
                                 options={"maxiter": 1000, "ftol": 1e-14, "gtol": 1e-9}).fun

    return torch.tensor([one(i) for i in range(len(start))], dtype=torch.float64)


@pytest.mark.parametrize("c", [0.01, 0.1, 1.0, 10.0])
def test_a_convex_net_ends_at_scipys_value(c):
    """One minimum, so both have to find it: a linear net, with pixels that end on the walls."""
    generator = torch.Generator().manual_seed(2)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 4)).double()
    with torch.no_grad():
        model[1].weight.copy_(2 * torch.randn(4, 36, generator=generator))
    x = torch.rand(6, 1, 6, 6, generator=generator).double().mul(1.4).sub(0.2).clamp(0, 1)
    with frozen(model):
        objective = szegedy(model, x, unsolved(model, x, True), c)
        end = minimise(objective, x.flatten(1), 500, flat=1e-12)
        value = objective(end, torch.arange(6))[0]
        torch.testing.assert_close(value, scipys(objective, x.flatten(1)), rtol=1e-6, atol=1e-9)
    assert end.min() >= 0 and end.max() <= 1
    assert c > 1 or ((end == 0) | (end == 1)).any(), "no wall was touched: this shows nothing"


def test_trained_nets_end_as_low_as_scipy_does(fully_connected, digits):
    """More than one minimum, so walks part: as good on average, and mostly the same."""
    model, some = fully_connected.double(), digits[:12]
    x, target = some.images.double(), (some.labels + 1) % 10
    with frozen(model):
        objective = szegedy(model, x, target, 0.1)
        value = objective(minimise(objective, x.flatten(1), 200), torch.arange(12))[0]
        theirs = scipys(objective, x.flatten(1))
    assert (value <= 1.01 * theirs).double().mean() >= 0.7
    assert value.mean() <= 1.05 * theirs.mean()


def test_each_function_has_its_own_walk():
    """Rosenbrock's valley, from eight points, alone and together; the minimum (1, 1) is a corner of the box."""
    def objective(points, rows):
        a, b = points.unbind(1)
        value = (1 - a) ** 2 + 100 * (b - a**2) ** 2
        return value, torch.stack([-2 * (1 - a) - 400 * a * (b - a**2), 200 * (b - a**2)], 1)

    start = torch.rand(8, 2, generator=torch.Generator().manual_seed(0)).double()
    together = minimise(objective, start, 200)
    alone = torch.cat([minimise(objective, start[i:i + 1], 200) for i in range(8)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)
    assert (objective(together, torch.arange(8))[0] < 1e-2).all()
    assert objective(start, torch.arange(8))[0].median() > 1


# --- what the attack finds ----------------------------------------------------------------

@both
@pytest.mark.parametrize("n", [1, 3, 8])
def test_a_linear_model_falls_at_its_known_distance(targeted, n):
    """Success, and at most 1 % further than the hyperplane."""
    generator = torch.Generator().manual_seed(3)
    w = torch.randn(12, generator=generator).double()

    class Linear(nn.Module):
        def forward(self, x):
            score = (x.flatten(1) - 0.5) @ w
            return torch.stack([torch.zeros_like(score), score], 1)

    x = (0.5 + 0.05 * torch.randn(n, 3, 2, 2, generator=generator).double()).flatten(1)
    side = ((x - 0.5) @ w).sign()
    # far from 0 and 1: no clipping
    x = (x + torch.linspace(0.05, 0.3, n)[:, None] * side[:, None] * w / w.norm()).view(n, 3, 2, 2)
    y = unsolved(Linear(), x, targeted)
    distance = ((x.flatten(1) - 0.5) @ w).abs() / w.norm()
    found = evaluate(Linear(), x, lbfgs(Linear(), x, y, targeted=targeted), y, targeted=targeted)
    assert found.success.all()
    assert (found.l2 >= distance).all() and (found.l2 <= 1.01 * distance).all()


@both
def test_norms_are_those_of_ddn(targeted, lenet, digits, peer):
    some = digits[:8]
    y = (some.labels + 1) % 10 if targeted else some.labels
    ours = evaluate(lenet, some.images, lbfgs(lenet, some.images, y, targeted=targeted, searches=6, steps=25), y,
                    targeted=targeted)
    reference = peer("adv_lib.attacks").ddn(lenet, some.images, y, steps=100, targeted=targeted)
    theirs = evaluate(lenet, some.images, reference, y, targeted=targeted)
    assert ours.success.all()
    moved = theirs.success & (theirs.l2 > 0)
    assert 0.95 <= (ours.l2[moved] / theirs.l2[moved]).median() <= 1.02


def test_all_mnist_images_are_fooled(lenet, mnist):
    from advlens import zoo

    model, some = zoo.pretrained("lenet", "mnist"), mnist.sample(40)
    adversarial = lbfgs(model, some.images, some.labels)
    assert evaluate(model, some.images, adversarial, some.labels).success.all()


def test_an_unsure_net_of_ten_classes_ends_too_far_and_a_sure_one_does_not():
    """What the docstring says of the source's loss: it counts all classes, the boundary only the nearest."""
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 10)).double()
    with torch.no_grad():
        net[1].weight.copy_(torch.randn(10, 48, generator=generator))
        net[1].bias.copy_(-net[1].weight.sum(1) / 2)
    x = (0.5 + 0.02 * torch.randn(6, 3, 4, 4, generator=generator)).double()
    z, w = logits(net, x), net[1].weight.detach()
    y = z.argmax(1)
    gap = (z.gather(1, y[:, None]) - z) / (w[y][:, None] - w).norm(dim=2)  # (6, 10)
    optimum = gap.scatter(1, y[:, None], torch.inf).amin(1)
    ratio = {scale: evaluate(net, x, lbfgs(After(net, lambda z: scale * z), x, y), y).l2 / optimum
             for scale in (0.1, 100.0)}
    assert ratio[0.1].median() > 1.1 and ratio[100.0].median() < 1.05, ratio


def test_a_success_without_gradient_is_no_reason_to_warn():
    """Beyond the boundary of a sure net the loss is exactly 0: there the walk has arrived."""
    sure = After(nn.Flatten(), lambda z: 1e4 * z)
    x, y = torch.tensor([[[[0.9, 0.5], [0.1, 0.3]]]]), torch.tensor([0])
    with warnings.catch_warnings():
        warnings.simplefilter("error", ZeroGradientWarning)
        assert evaluate(sure, x, lbfgs(sure, x, y), y).success.all()


# --- the work ---------------------------------------------------------------------------------

def test_a_step_costs_one_pass_in_each_direction(net, batch, work):
    """At the start F; for each c F + B at its start, F at its end, and F + B for each length that a step tries."""
    x, y = batch[0], unsolved(net, batch[0], False)
    with work(net) as passes:
        lbfgs(net, x, y, searches=3, steps=8)
    assert passes.forward == passes.backward + 8 + 3 * 8
    assert passes.backward <= 1.5 * 3 * (1 + 8) * 8


def test_images_that_arrived_leave_the_batch(net, batch, work):
    """An image costs the same work beside images that walk for longer."""
    net, x = net.double(), batch[0].double()
    y = unsolved(net, x, False)
    cost = []
    for i in range(8):
        with work(net) as passes:
            quick(net, x[i:i + 1], y[i:i + 1])
        cost.append(passes.backward)
    with work(net) as together:
        quick(net, x, y)
    assert max(cost) > min(cost) and together.backward == sum(cost)


def test_nothing_is_walked_for_images_that_succeed_already(net, batch, work):
    y = unsolved(net, batch[0], True)
    with work(net) as passes:
        lbfgs(net, batch[0], y)
    assert (passes.forward, passes.backward) == (8, 0)


# --- bad input ------------------------------------------------------------------------------

@pytest.mark.parametrize("option", ["steps", "searches"])
def test_wrong_options_are_named(option, net, batch):
    with pytest.raises(ValueError, match=f"{option} = 0"):
        lbfgs(net, *batch, **{option: 0})
