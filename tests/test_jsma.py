"""JSMA and its pair search: against looking at every pair, the least work and memory.  Its contract: test_contract.py.

"PEERS n" names a mistake of other libraries that the test would catch here.
"""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from advlens import geometry
from advlens.attacks import jsma
from advlens.attacks.jsma import contenders
from advlens.evaluation import evaluate, logits
from advlens.kernels import jsma as twin
from nets import After

# --- the pair search ---------------------------------------------------------------


def every_pair(a, b):
    """The oracle: all pairs in one map."""
    rise, fall = a[:, :, None] + a[:, None], b[:, :, None] + b[:, None]
    value, at = torch.where((rise > 0) & (fall > 0), rise * fall, 0).triu(1).flatten(1).max(1)
    return torch.where(value[:, None] > 0, torch.stack([at // a.shape[1], at % a.shape[1]], 1), -1)


def slopes(n, seed, images=3, ties=False):
    """Random a and b; with ties, small whole numbers, some features that may not move, and an image without any
    pair.
    """
    generator = torch.Generator().manual_seed(seed)
    if not ties:
        return torch.randn(2, images, n, generator=generator)
    a, b = torch.randint(-3, 4, (2, images, n), generator=generator).float()
    blocked = torch.rand(images, n, generator=generator) < 0.2
    a, b = (v.masked_fill(blocked, -math.inf) for v in (a, b))
    b[-1] = -b[-1].abs()
    return a, b


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [2, 3, 17, 64, 131])
@pytest.mark.parametrize("tile", [1, 500, twin.TILE])
def test_the_tiled_search_equals_the_map_of_all_pairs(n, tile, ties, monkeypatch):
    """PEERS 16."""
    monkeypatch.setattr(twin, "TILE", tile)
    a, b = slopes(n, seed=n, ties=ties)
    assert torch.equal(twin.best_pair(a, b), every_pair(a, b))


def pruned(a, b):
    index, few_a, few_b = contenders(a, b)
    pair = twin.best_pair(few_a, few_b)
    return torch.where(pair >= 0, index.gather(1, pair.clamp_min(0)), -1)


@settings(max_examples=200, deadline=None)
@given(n=st.integers(2, 40), seed=st.integers(0, 10_000), ties=st.booleans())
def test_features_that_fall_out_are_in_no_best_pair(n, seed, ties):
    a, b = slopes(n, seed, ties=ties)
    assert torch.equal(pruned(a.double(), b.double()), twin.best_pair(a.double(), b.double()))


def test_few_features_stay_in_the_race(lenet, digits):
    x = digits.images[:20].requires_grad_()
    z = lenet.eval()(x)
    rise, = torch.autograd.grad(z[:, 3].sum(), x, retain_graph=True)
    fall, = torch.autograd.grad(2 * z[:, 3].sum() - z.sum(), x)
    index, *_ = contenders(rise.flatten(1), fall.flatten(1))
    assert index.shape[1] < 784 / 5, "a fifth of the pixels, so a twenty-fifth of the pairs"


def test_of_equal_features_the_first_two_stay():
    index, *_ = contenders(torch.ones(2, 50), torch.ones(2, 50))
    assert index.tolist() == [[0, 1], [0, 1]]


def test_without_order_every_feature_stays():
    a = torch.arange(50.0)[None]
    index, few_a, few_b = contenders(a, -a)
    assert torch.equal(index, torch.arange(50)[None]) and torch.equal(few_a, a) and torch.equal(few_b, -a)


@pytest.fixture(scope="module")
def kernel():
    pytest.importorskip("triton")
    from advlens.kernels import jsma_triton

    return jsma_triton


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [2, 31, 32, 33, 129, 260])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_kernel_equals_its_twin(n, dtype, ties, kernel, device):
    a, b = (v.to(device, dtype) for v in slopes(n, seed=n, images=2, ties=ties))
    assert torch.equal(kernel.best_pair(a, b), twin.best_pair(a, b))


def test_of_equal_pairs_the_first_one_counts(kernel, device):
    """Also where the others lie in later tiles."""
    equal = torch.ones(2, 2 * kernel.BLOCK_Q + 4, device=device)
    for search in (twin.best_pair, kernel.best_pair):
        assert search(equal, equal).tolist() == [[0, 1], [0, 1]]


def test_the_kernel_reads_views(kernel, device):
    a, b = slopes(40, seed=0)
    views = [v.t().contiguous().to(device).t() for v in (a, b)]
    assert torch.equal(kernel.best_pair(*views).cpu(), twin.best_pair(a, b))


@pytest.mark.parametrize("a, b, message", [
    (torch.rand(2, 5), torch.rand(2, 4), r"a has shape \(2, 5\) and b \(2, 4\)"),
    (torch.rand(5), torch.rand(5), "with n >= 2"),
    (torch.rand(2, 1), torch.rand(2, 1), "with n >= 2"),
    (torch.ones(2, 5).long(), torch.ones(2, 5).long(), "a is torch.int64"),
    (torch.rand(2, 5), torch.rand(2, 5).double(), "b is torch.float64"),
])
def test_the_search_refuses_other_shapes_and_types(a, b, message, kernel):
    for search in (twin.best_pair, kernel.best_pair):
        with pytest.raises(ValueError, match=message):
            search(a, b)


def test_the_kernel_compiles_for_gpus_and_stays_in_registers(without_interpreter):
    printed = without_interpreter("""
        import torch
        from advlens.kernels.jsma_triton import BLOCK_P, BLOCK_Q, WARPS, search_rows

        for kind, type_ in (("fp32", torch.float32), ("fp64", torch.float64)):
            types = dict(a=f"*{kind}", b=f"*{kind}", score=f"*{kind}", pair="*i64", n="i32", blocks="i32")
            for architecture in (80, 90):
                print(spilled(search_rows, types, dict(BLOCK_P=BLOCK_P, BLOCK_Q=BLOCK_Q), architecture, WARPS[type_]))
        """)
    assert printed.split() == ["0"] * 4


# --- the walk ----------------------------------------------------------------------


def points_met(model, x, y, **options):
    """Every image that the attack shows to the model, one after the other."""
    met = []
    hook = model.register_forward_pre_hook(lambda module, inputs: met.append(inputs[0].detach().clone()))
    jsma(model, x, y, **options)
    hook.remove()
    return met


def slow_walk(model, x, target, theta, steps):
    """The oracle: one image (1, C, H, W), all K gradients, all pairs, step by step."""
    sign, points = math.copysign(1, theta), [x]
    for _ in range(steps):
        if model(x).argmax() == target:
            break
        jacobian = torch.autograd.functional.jacobian(lambda v: model(v)[0], x).flatten(1)  # (K, n)
        alpha = sign * jacobian[target]
        beta = sign * (jacobian.sum(0) - jacobian[target])
        free = (x < 0.99 if theta > 0 else x > 0.01).flatten()
        rise, fall = (torch.where(free, v, -math.inf)[None] for v in (alpha, -beta))
        pair = every_pair(rise, fall)[0]
        if pair[0] < 0:
            break
        x = x.flatten().index_add(0, pair, torch.full((2,), theta, dtype=x.dtype)).clamp(0, 1).view_as(x)
        points.append(x)
    return points


def next_class(model, x):
    """For each image a target that is not predicted, and a label that is not the target."""
    y = logits(model, x).argmax(1)
    return y, (y + 1) % logits(model, x).shape[1]


@pytest.mark.parametrize("theta", [1.0, -1.0, 0.3, -0.3])
def test_every_step_equals_the_slow_walk(theta, net, batch):
    """PEERS 16: true pair saliency, and two gradients instead of one for each class."""
    net, x = net.double().eval(), batch[0].double()
    y, target = next_class(net, x)
    lengths = []
    for i in range(len(x)):
        met = points_met(net, x[i:i + 1], y[i:i + 1], target=target[i:i + 1], theta=theta, gamma=0.5)
        expected = slow_walk(net, x[i:i + 1], target[i], theta, steps=18)
        torch.testing.assert_close(torch.cat(met), torch.cat(expected), rtol=0, atol=1e-12)
        lengths.append(len(met))
    assert max(lengths) > 4, "the walks are too short to show anything"


def test_every_step_equals_the_slow_walk_on_digits(lenet, digits):
    lenet, x, y = lenet.double().eval(), digits.images[:2].double(), digits.labels[:2]
    target = (y + 1) % 10
    for i in range(2):
        met = points_met(lenet, x[i:i + 1], y[i:i + 1], target=target[i:i + 1], gamma=0.02)
        torch.testing.assert_close(torch.cat(met), torch.cat(slow_walk(lenet, x[i:i + 1], target[i], 1.0, steps=7)),
                                   rtol=0, atol=1e-12)


def test_equals_torchattacks(lenet, digits, peer):
    """Theirs keeps the dense map and one backward pass a class; where both succeed the images are the same."""
    x, y = digits.images[:4], digits.labels[:4]
    target = (y + 1) % 10
    # 20 steps; its default target is the next class
    theirs = peer("torchattacks").JSMA(lenet, theta=1.0, gamma=40 / 784)(x, y)
    ours = jsma(lenet, x, y, target=target, gamma=40 / 784)
    both = evaluate(lenet, x, theirs, target, targeted=True).success
    assert both.any() and torch.equal(both, evaluate(lenet, x, ours, target, targeted=True).success)
    torch.testing.assert_close(ours[both], theirs[both], rtol=0, atol=1e-6)


def test_the_best_pair_is_not_the_two_largest_gradients():
    """PEERS 16: ART takes the two pixels in which the target rises fastest."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2, bias=False))
    # Pixels 0 and 1 raise the target most, but the other class with it.
    model[1].weight.data = torch.tensor([[4.0, 4.0, -2.0, -2.0], [3.0, 3.0, 1.0, 1.0]])
    x = torch.tensor([[[[0.5, 0.5], [0.0, 0.0]]]])
    adversarial = jsma(model, x, torch.tensor([0]), target=torch.tensor([1]), gamma=0.5)
    assert adversarial.flatten().tolist() == [0.5, 0.5, 1.0, 1.0]


@pytest.mark.parametrize("theta", [1.0, -1.0])
def test_a_feature_next_to_its_edge_takes_no_step(theta):
    """Scans hold 254/255: to raise it to 1 would waste half a step."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    model[1].weight.data = theta * torch.tensor([[-9.0, -1.0, -1.0, -1.0], [9.0, 1.0, 2.0, 1.0]])
    model[1].bias.data = torch.tensor([100.0, 0.0])  # the target is out of reach
    x = torch.tensor([[[[254 / 255, 0.4], [0.4, 0.4]]]])
    x = x if theta > 0 else 1 - x
    moved = points_met(model, x, theta=theta, gamma=0.5, **targets(1))[1] != x
    assert moved.flatten().tolist() == [False, True, True, False]


class Sum(nn.Module):
    """Class 1 once the pixels add up to more than 6.5; each pixel counts the same."""

    def forward(self, x):
        total = x.sum((1, 2, 3))
        return torch.stack([13 - total, total], 1)


def ones(*counts):
    """Images (N, 1, 4, 4) with so many pixels at 1, the others at 0."""
    return (torch.arange(16) < torch.tensor(counts)[:, None]).float().view(-1, 1, 4, 4)


def targets(n, target=1):
    return dict(y=torch.full((n,), 1 - target), target=torch.full((n,), target))


def test_a_step_costs_a_forward_and_two_backwards_for_each_image_that_walks(work):
    x = ones(7, 5, 3, 1)  # on target after 0, 1, 2 and 3 steps
    model = Sum()
    with work(model) as done:
        adversarial = jsma(model, x, gamma=0.5, **targets(4))
    assert done.forward == 4 + 3 + 2 + 1
    assert done.backward == 2 * (4 + 3 + 2)  # those that arrive share a batch with those that go on
    assert torch.equal(adversarial, ones(7, 7, 7, 7))


def test_the_last_step_needs_no_gradient(work):
    model, graphs = Sum(), []
    model.register_forward_hook(lambda module, inputs, output: graphs.append(output.requires_grad))
    with work(model) as done:
        jsma(model, ones(0, 0), gamma=4 / 16, **targets(2))
    assert (done.forward, done.backward) == (2 * 3, 2 * 2 * 2) and graphs == [True, True, False]


def test_images_without_a_pair_leave_the_batch(work):
    class Lonely(Sum):
        """Lower pixels are good for the target, and only the first image has any that may fall."""

        def forward(self, x):
            return super().forward(1 - x)

    model = Lonely()
    with work(model) as done:
        jsma(model, ones(16, 1), theta=-1.0, gamma=0.75, y=torch.tensor([1, 1]), target=torch.tensor([0, 0]))
    assert done.forward == 2  # both are class 0 or have no admissible pair


def test_the_number_of_steps_is_not_lost_in_rounding(work):
    """0.58 of 100 is 57.99999999999999, which would be 28 pairs."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(100, 2))
    model[1].weight.data = torch.tensor([[-1.0], [1.0]]).repeat(1, 100)
    model[1].bias.data = torch.tensor([1000.0, 0.0])
    with work(model) as done:
        jsma(model, torch.zeros(1, 1, 10, 10), gamma=0.58, **targets(1))
    assert done.forward == 29 + 1


def test_an_image_whose_other_classes_cannot_fall_comes_back_without_a_warning(recwarn):
    """Its gradient is not 0, so nothing is masked."""
    class Alone(nn.Module):
        def forward(self, x):
            rise = x.sum((1, 2, 3)) - 100
            return torch.stack([torch.zeros_like(rise), rise], 1)

    x = torch.zeros(1, 1, 3, 3)
    assert torch.equal(jsma(Alone(), x, gamma=1.0, **targets(1)), x) and not recwarn.list


def test_no_more_features_change_than_gamma_allows(net, batch):
    x = batch[0]
    y, target = next_class(net, x)
    for gamma in (0.05, 0.2, 0.5):
        adversarial = jsma(net, x, y, target=target, gamma=gamma)
        changed = (adversarial != x).flatten(1).sum(1)
        assert (changed <= gamma * 72).all() and changed.any()
        assert (geometry.norm(adversarial - x, "l0") <= changed).all()
        assert adversarial.min() >= 0 and adversarial.max() <= 1


@pytest.mark.parametrize("theta", [1.0, -1.0])
def test_black_and_white_images_move_only_in_the_direction_of_theta(theta, net, batch):
    """PEERS 2."""
    x = batch[0].round()
    y, target = next_class(net, x)
    change = jsma(net, x, y, target=target, theta=theta, gamma=1.0) - x
    assert set(change.unique().tolist()) == {0.0, theta}


def test_a_larger_gamma_never_fools_fewer_and_the_largest_fools_most(lenet, digits):
    x, y = digits.images[:10], digits.labels[:10]
    target = (y + 1) % 10
    fooled = [evaluate(lenet, x, jsma(lenet, x, y, target=target, gamma=gamma), target, targeted=True).success
              for gamma in (0.01, 0.06, 0.15)]
    assert (fooled[0] <= fooled[1]).all() and (fooled[1] <= fooled[2]).all() and fooled[2].float().mean() >= 0.8


def test_tiny_gradients_change_nothing(net, batch):
    """The product of two is 0 in float32."""
    x = batch[0]
    y, target = next_class(net, x)
    plain = jsma(net, x, y, target=target, gamma=0.3)
    assert (plain != x).any() and torch.equal(jsma(After(net, lambda z: 2.0**-90 * z), x, y, target=target, gamma=0.3),
                                              plain)


class Largest(TorchDispatchMode):
    """Remembers the size of the largest tensor that any operation makes."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return out


@pytest.mark.parametrize("order", ["random", "worst"])
def test_memory_is_linear_in_the_number_of_features(order):
    """PEERS 16: the dense maps of these images have 48 million numbers each.  In the worst case no feature falls
    out.
    """
    n = 3 * 48 * 48
    model = nn.Sequential(nn.Flatten(), nn.Linear(n, 2, bias=False))
    rise = torch.linspace(0, 1, n)
    fall = 1 - rise if order == "worst" else torch.rand(n, generator=torch.Generator().manual_seed(0))
    model[1].weight.data = torch.stack([-fall, rise])
    x = torch.full((3, 3, 48, 48), 0.001)
    x[:, 0, 0, 0] = 0.0
    model[1].weight.data[0, 0] = -1e-6
    model[1].weight.data *= 100
    with Largest() as largest:
        jsma(After(model, lambda z: z + torch.tensor([1e6, 0.0])), x, **targets(3), gamma=2.5 / n)
    assert largest.numbers <= max(twin.TILE, 8 * x.numel())


# --- bad input -----------------------------------------------------------------------


@pytest.mark.parametrize("change, error, message", [
    (dict(theta=0.0), ValueError, "theta = 0.0"),
    (dict(theta=1.5), ValueError, "theta = 1.5"),
    (dict(theta=-1.5), ValueError, "theta = -1.5"),
    (dict(theta=math.nan), ValueError, "theta = nan"),
    (dict(gamma=0.0), ValueError, "gamma = 0.0"),
    (dict(gamma=1.1), ValueError, "gamma = 1.1"),
    (dict(gamma=math.nan), ValueError, "gamma = nan"),
    (dict(target=torch.tensor([1, 2, 3, 4, 0, 0, 0, 0])), ValueError, "target equals the label in row 4"),
    (dict(target=torch.ones(3, dtype=torch.int64)), ValueError, r"target has shape \(3,\) for 8 images"),
    (dict(target=torch.ones(8)), TypeError, "target is torch.float32"),
    (dict(target=1), TypeError, "target is int"),
    (dict(target=torch.full((8,), 5)), ValueError, r"target holds 5, but the model has 5 classes"),
])
def test_wrong_options_are_refused(change, error, message, net, batch):
    arguments = dict(x=batch[0], y=torch.zeros(8, dtype=torch.int64), target=torch.ones(8, dtype=torch.int64)) | change
    with pytest.raises(error, match=message):
        jsma(net, **arguments)
