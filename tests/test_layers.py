"""The proposed layers: their formulas, their gradients, and pairwise differences in linear memory."""

from __future__ import annotations

from itertools import accumulate

import pytest
import torch
from torch import nn

from advlens import zoo
from advlens.attacks import pgd
from advlens.inputs import frozen
from advlens.kernels import pairwise
from advlens.layers import Angular, BatchRenorm, ElasticSigmoid, PairwiseDifference, PatchPairwiseDifference, halved

double = lambda *shape: torch.randn(*shape, dtype=torch.float64, requires_grad=True)


# --- elastic sigmoid ---------------------------------------------------------------

def test_elastic_sigmoid():
    layer, d = ElasticSigmoid().double(), double(4, 3)
    assert torch.equal(layer(d), torch.sigmoid(d)) and [p.shape for p in layer.parameters()] == [()]
    layer.slope.data.fill_(2.5)
    torch.testing.assert_close(layer(d), torch.sigmoid(2.5 * d))
    assert torch.autograd.gradcheck(lambda d, s: torch.func.functional_call(layer, {"slope": s}, d), (d, layer.slope))


# --- angular neurons ---------------------------------------------------------------

def test_angular_is_the_formula():
    layer, a = Angular(5, 3, c=0.2).double(), double(4, 5)
    layer.bias.data.uniform_(-1, 1)
    slow = torch.stack([torch.stack([w @ row / (w.norm() * row.norm() + 0.2) + b for w,
                                     b in zip(layer.weight, layer.bias)]) for row in a])
    torch.testing.assert_close(layer(a), slow)
    assert torch.autograd.gradcheck(layer, a) and torch.autograd.gradgradcheck(layer, a)


def test_the_angular_gradient_is_the_corrected_formula_and_orthogonal_to_the_input():
    layer, a = Angular(5, 1, c=0.0).double(), double(7, 5)
    gradient, = torch.autograd.grad(layer(a).sum(), a)
    w, length = layer.weight[0], a.norm(dim=1, keepdim=True)
    expected = w / (w.norm() * length) - (a @ w)[:, None] * a / (w.norm() * length ** 3)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-12)
    assert (gradient * a).sum(1).abs().max() < 1e-12
    printed = w / (w.norm() * length) + (a @ w)[:, None] * a / (w.norm() * length ** 3)  # the source's sign
    assert (printed * a).sum(1).abs().max() > 1e-3


def test_angular_sees_directions_only():
    layer, a = Angular(5, 3, c=0.0).double(), double(4, 5)
    torch.testing.assert_close(layer(17 * a), layer(a))


def test_c_keeps_blank_inputs_finite():
    a = torch.zeros(2, 5, requires_grad=True)
    layer = Angular(5, 3)
    assert torch.equal(layer(a), layer.bias.expand(2, 3))
    assert torch.isfinite(torch.autograd.grad(layer(a).sum(), a)[0]).all()
    assert torch.isnan(Angular(5, 3, c=0.0)(a)).all()


# --- batch renormalisation ---------------------------------------------------------

def test_without_freedom_it_is_batch_normalisation():
    """In the first batch r = 1 and d = 0."""
    x = torch.randn(16, 3, 4, 4, dtype=torch.float64) * 3 + 1
    torch.testing.assert_close(BatchRenorm(3).double()(x), nn.BatchNorm2d(3).double()(x))


def test_with_full_freedom_it_gives_what_evaluation_gives():
    """Inside the limits x r + d is the normalisation by the running statistics (ioffe2017, eq. 2)."""
    layer = BatchRenorm(3, r_max=1e6, d_max=1e6, warmup=1).double()
    x = torch.randn(16, 3, dtype=torch.float64) * 3 + 1
    layer(x)
    layer.eval()
    expected = layer(x)
    layer.train()
    torch.testing.assert_close(layer(x), expected)


def test_its_limits_hold_and_grow():
    layer = BatchRenorm(1, r_max=3, d_max=5, warmup=10, momentum=0.0)
    x = torch.tensor([[999.0], [1001.0]])  # mean 1000, deviation 1; the running ones stay 0 and 1
    for batch in range(12):
        assert layer(x).mean().item() == pytest.approx(5 * min(1, batch / 10), abs=1e-3)
    spread = layer(100 * x)[:, 0].detach()
    assert (spread[1] - spread[0]).item() / 2 == pytest.approx(3, rel=1e-4)
    spread = layer(0.1 * x)[:, 0].detach()  # deviation 0.1: x / 0.1 is multiplied by at least 1 / 3
    assert (spread[1] - spread[0]).item() / 2 == pytest.approx(1 / 3, rel=1e-2)


def test_r_and_d_are_constants_of_the_gradient():
    layer = BatchRenorm(2, warmup=1).double()
    with torch.no_grad():
        layer(torch.randn(9, 2, dtype=torch.float64) * 2)
    x = (torch.randn(9, 2, dtype=torch.float64) * 2 + 0.3).requires_grad_()
    mean, std = x.mean(0), (x.var(0, correction=0) + layer.eps).sqrt()
    r = (std / layer.running_std).clamp(1 / 3, 3).detach()
    d = ((mean - layer.running_mean) / layer.running_std).clamp(-5, 5).detach()
    slow = (x - mean) / std * r + d
    weights = torch.randn_like(x)
    expected, = torch.autograd.grad((slow * weights).sum(), x)
    actual, = torch.autograd.grad((layer(x) * weights).sum(), x)
    torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("shape", [(8, 3), (8, 3, 5, 5)])
def test_at_test_time_neighbours_change_nothing(shape):
    layer, x = BatchRenorm(3), torch.randn(*shape)
    for _ in range(5):
        layer(x)
    layer.eval()
    before = layer.running_mean.clone()
    torch.testing.assert_close(layer(x)[2:3], layer(x[2:3]))
    assert torch.equal(before, layer.running_mean)


def test_running_statistics_approach_those_of_the_data():
    layer = BatchRenorm(1, momentum=0.05)
    for _ in range(300):
        layer(torch.randn(64, 1) * 2 + 3)
    assert [layer.running_mean.item(), layer.running_std.item()] == pytest.approx([3, 2], abs=0.2)


# --- pairwise difference: the function ---------------------------------------------

SIZES = [2, 3, 4, 5, 8, 9, 16, 17]


def slow(v, weight, bias):
    """All n^2 pairs at once."""
    return torch.einsum("oij,nij->no", weight, torch.sigmoid(v[:, :, None] - v[:, None, :])) + bias


@pytest.mark.parametrize("n", SIZES)
def test_every_pair_comes_once(n):
    i, j = pairwise.pairs(n)
    assert len(i) == n * (n - 1) // 2 == len({frozenset(pair) for pair in zip(i.tolist(), j.tolist())})
    assert (i != j).all() and max(i.max(), j.max()) == n - 1


@pytest.mark.parametrize("dtype, atol", [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("tile", [1, 2 ** 17])
def test_full_half_and_slow_are_one_layer(n, dtype, atol, tile, monkeypatch):
    """PEERS: full = half within 1e-6, in double precision 1e-12; also cut into the smallest tiles."""
    monkeypatch.setattr(pairwise, "TILE", tile)
    layer = PairwiseDifference(n, 3, full=True).to(dtype)
    layer.weight.data /= layer.weight.data[0].norm()  # an absolute tolerance needs outputs of size 1
    layer.bias.data.uniform_(-1, 1)
    half, v = halved(layer), torch.randn(5, n, dtype=dtype, requires_grad=True)
    assert half.weight.shape == (3, n * (n - 1) // 2)
    torch.testing.assert_close(layer(v), slow(v, layer.weight, layer.bias), rtol=0, atol=atol)
    torch.testing.assert_close(half(v), layer(v), rtol=0, atol=atol)
    cotangent = torch.randn(5, 3, dtype=dtype)
    gradients = [torch.autograd.grad(f(v), v, cotangent)[0]
                 for f in (half, layer, lambda v: slow(v, layer.weight, layer.bias))]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=atol)
    torch.testing.assert_close(gradients[0], gradients[2], rtol=0, atol=atol)


@pytest.mark.parametrize("n, full", [(2, False), (5, False), (6, False), (2, True), (4, True)])
@pytest.mark.parametrize("tile", [1, 2 ** 17])
def test_first_and_second_derivatives(n, full, tile, monkeypatch):
    monkeypatch.setattr(pairwise, "TILE", tile)
    layer, v = PairwiseDifference(n, 2, full=full).double(), double(3, n)
    with_weights = lambda v, w: torch.func.functional_call(layer, {"weight": w}, v)
    assert torch.autograd.gradcheck(with_weights, (v, layer.weight))
    assert torch.autograd.gradgradcheck(with_weights, (v, layer.weight))


def test_second_derivatives_where_only_one_side_is_wanted():
    """Frozen weights, as for pixel interactions, and constant inputs."""
    layer, v = PairwiseDifference(5, 2).double(), double(3, 5)
    call = lambda w, v: torch.func.functional_call(layer, {"weight": w}, v)
    assert torch.autograd.gradgradcheck(lambda v: call(layer.weight.detach(), v), v)
    assert torch.autograd.gradgradcheck(lambda w: call(w, v.detach()).pow(2), layer.weight)


def test_a_third_derivative_is_refused():
    v = double(2, 4)
    first, = torch.autograd.grad(PairwiseDifference(4, 2).double()(v).pow(2).sum(), v, create_graph=True)
    second, = torch.autograd.grad(first.pow(2).sum(), v, create_graph=True)
    with pytest.raises(NotImplementedError, match="no third ones"):
        torch.autograd.grad(second.pow(2).sum(), v)


def test_frozen_weights_get_no_gradient(monkeypatch):
    """An attack wants the gradient of its images alone."""
    asked = []
    real = pairwise.backward
    monkeypatch.setattr(pairwise, "backward", lambda *a: asked.append(a[-2:]) or real(*a))
    layer, v = PairwiseDifference(4, 2), torch.randn(3, 4, requires_grad=True)
    with frozen(layer):
        torch.autograd.grad(layer(v).sum(), v)
    layer(v.detach()).sum().backward()
    assert asked == [(True, False), (False, True)] and layer.weight.grad.any()


@pytest.mark.parametrize("full", [False, True])
def test_the_start(full):
    """Outputs of variance 1 for independent inputs of variance 1, and 0 for a blank one."""
    layer = PairwiseDifference(40, 200, full=full)
    assert 0.8 < layer(torch.randn(200, 40)).var() < 1.25
    assert layer(torch.full((1, 40), 3.0)).abs().max() < 1e-4
    assert PairwiseDifference(4, 2, bias=False).bias is None


def test_leading_dimensions_are_kept():
    layer, v = PairwiseDifference(4, 2), torch.randn(3, 5, 4)
    torch.testing.assert_close(layer(v)[1, 2], layer(v[1, 2]))
    assert layer(v).shape == (3, 5, 2)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("kernel_size, stride", [(2, None), (3, 1), (3, 2)])
def test_patches_are_the_layer_at_each_place(full, kernel_size, stride):
    layer, x = PatchPairwiseDifference(2, 4, kernel_size, stride, full=full), torch.randn(3, 2, 7, 6)
    step = stride or kernel_size
    out = layer(x)
    assert out.shape == (3, 4, (7 - kernel_size) // step + 1, (6 - kernel_size) // step + 1)
    for row in range(out.shape[2]):
        for column in range(out.shape[3]):
            patch = x[:, :, row * step:row * step + kernel_size, column * step:column * step + kernel_size].flatten(1)
            torch.testing.assert_close(out[:, :, row, column], PairwiseDifference.forward(layer, patch))
    if full:
        torch.testing.assert_close(halved(layer)(x), out, rtol=1e-5, atol=1e-5)


def test_the_layers_build_a_net_that_trains_and_can_be_attacked(digits):
    some = digits.sample(100)
    pooled = torch.nn.functional.avg_pool2d(some.images, 4)
    net = nn.Sequential(nn.Flatten(), PairwiseDifference(49, 32), BatchRenorm(32, momentum=0.1), ElasticSigmoid(),
                        PairwiseDifference(32, 32), BatchRenorm(32, momentum=0.1), nn.Sigmoid(), Angular(32, 10))
    descent = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(40):
        descent.zero_grad()
        loss = nn.functional.cross_entropy(5 * net(pooled), some.labels)
        loss.backward()
        descent.step()
    net.eval()
    assert (net(pooled).argmax(1) == some.labels).float().mean() > 0.8
    adversarial = pgd(net, pooled[:10], some.labels[:10], eps=0.2, steps=5, loss="margin",
                      generator=torch.Generator().manual_seed(0))
    assert (net(adversarial).argmax(1) != some.labels[:10]).float().mean() > 0.5


# --- half precision and the start ----------------------------------------------------

SMALL = [lambda **g: Angular(6, 5, **g), lambda **g: PairwiseDifference(6, 5, **g),
         lambda **g: PairwiseDifference(6, 5, full=True, **g), lambda **g: PatchPairwiseDifference(1, 3, 2, **g)]


@pytest.mark.parametrize("make", SMALL)
def test_first_weights_come_from_the_generator_that_is_given(make):
    before = torch.get_rng_state()
    first, again, other = (make(generator=torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), before), "the global generator was used"
    for a, b, c in zip(first.parameters(), again.parameters(), other.parameters()):
        assert torch.equal(a, b) and (not torch.equal(a, c) or not a.any())
    torch.manual_seed(5)
    assert torch.equal(make().weight, first.weight), "without one, torch's own"


PROPOSED = {
    "BatchRenorm": lambda: BatchRenorm(6, warmup=1),
    "PairwiseDifference": lambda: PairwiseDifference(6, 6),
    "full": lambda: PairwiseDifference(6, 6, full=True),
    "Angular": lambda: Angular(6, 6),
    "ElasticSigmoid": lambda: ElasticSigmoid(),
}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", PROPOSED)
def test_training_inside_autocast(name, dtype):
    """The proposed layers between two linear ones, as `training.fit(bfloat16=True)` runs them: gradients as in
    float32.
    """
    net = nn.Sequential(nn.Linear(4, 6), PROPOSED[name](), nn.Linear(6, 3))
    x, cotangent = torch.randn(64, 4, requires_grad=True), torch.randn(64, 3)
    parameters = [x, *net.parameters()]
    for _ in range(3):
        net(x)
    exact = torch.autograd.grad(net(x), parameters, cotangent)
    with torch.autocast("cpu", dtype):
        out = net(x)
        inside = torch.autograd.grad(out, parameters, cotangent.to(out), retain_graph=True)
    outside = torch.autograd.grad(out, parameters, cotangent.to(out))
    assert out.dtype == dtype
    size = max(torch.linalg.norm(gradient) for gradient in exact)  # that of a bias before BatchRenorm is 0
    for a, b, c in zip(exact, inside, outside):
        assert a.dtype == b.dtype == c.dtype
        assert torch.linalg.norm(b - a) < 0.02 * size and torch.linalg.norm(c - a) < 0.02 * size


def test_pairwise_gradients_are_summed_in_float32_inside_autocast_too():
    """First and second derivatives: the same bits whether autocast is on or not when they are computed."""
    layer, v = PairwiseDifference(30, 4), torch.randn(50, 30, requires_grad=True)
    found = []
    for on in (True, False):
        with torch.autocast("cpu", torch.bfloat16):
            out = layer(v).float().pow(2)
        with torch.autocast("cpu", torch.bfloat16, enabled=on):
            slope, = torch.autograd.grad(out.sum(), v, create_graph=True)
            found.append((slope, *torch.autograd.grad(slope.pow(2).sum(), [v, layer.weight])))
    assert all(torch.equal(*both) for both in zip(*found))
    slope, = torch.autograd.grad(layer(v).pow(2).sum(), v, create_graph=True)
    exact = torch.autograd.grad(slope.pow(2).sum(), layer.weight)[0]
    assert torch.linalg.norm(found[0][2] - exact) < 0.05 * torch.linalg.norm(exact)


def test_float64_stays_itself_inside_autocast():
    layer, v = PairwiseDifference(6, 2).double(), torch.randn(5, 6, dtype=torch.float64)
    with torch.autocast("cpu", torch.bfloat16):
        inside = layer(v)
    assert torch.equal(inside, layer(v)) and inside.dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_batch_renorm_in_half_precision_counts_in_float32(dtype):
    """Batches in half precision, then the whole layer: statistics as in float32, outputs in the type of the input."""
    layer, exact = BatchRenorm(3, warmup=10), BatchRenorm(3, warmup=10)
    for _ in range(20):
        x = (torch.randn(256, 3) * 2 + 30).to(dtype)  # a sum in bfloat16 would lose the deviation
        ours, wanted = layer(x), exact(x.float())
        assert ours.dtype == dtype
        torch.testing.assert_close(ours, wanted.to(dtype))
    torch.testing.assert_close(layer.running_mean, exact.running_mean)
    torch.testing.assert_close(layer.running_std, exact.running_std)
    layer, exact = layer.to(dtype), exact.to(dtype).float()
    for mode in (True, False):
        torch.testing.assert_close(layer.train(mode)(x), exact.train(mode)(x.float()).to(dtype))
    assert layer.running_mean.dtype == dtype


# --- pairwise difference: memory ---------------------------------------------------

def peak(function) -> tuple[int, int]:
    """Bytes that were held at once beyond what was there before, and the largest single piece."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as record:
        function()
    events = sorted((e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"),
                    key=lambda e: e.start_ns())
    changes = [e.nbytes() for e in events]
    return max(accumulate(changes)), max(changes)


def test_the_meter_sees_what_a_dense_layer_holds():
    v, weight = torch.randn(20, 30), torch.randn(4, 30, 30)
    assert peak(lambda: slow(v, weight, 0))[0] >= 20 * 30 ** 2 * 4
    assert 50 * 4000 <= peak(lambda: [torch.zeros(1000) for _ in range(50)])[0] < 51 * 4000 + 50 * 64
    assert peak(lambda: [float(torch.zeros(1000).sum()) for _ in range(50)])[0] < 10000


@pytest.mark.parametrize("samples, n, out, full", [(400, 100, 2, False), (400, 100, 2, True), (64, 120, 1, False),
                                                   (3000, 60, 1, False), (20, 200, 10, False)])
def test_memory_is_linear(samples, n, out, full):
    """Forward and backward together: at most 2 x (inputs + weights + outputs) beyond what was given, gradients
    included.
    """
    layer, v = PairwiseDifference(n, out, full=full), torch.randn(samples, n, requires_grad=True)
    given = v.nbytes + layer.weight.nbytes + layer.bias.nbytes + 4 * samples * out
    extra, largest = peak(lambda: layer(v).sum().backward())
    dense = 4 * samples * n ** 2
    print(f"N = {samples}, n = {n}, out = {out}: inputs + weights + outputs {given:,} B, peak extra {extra:,} B "
          f"({extra / given:.2f} x), N n^2 numbers would be {dense:,} B")
    assert extra <= 2 * given and largest < dense / 4
    assert layer.weight.grad is not None and v.grad is not None


def test_many_times_more_pairs_than_memory():
    layer, v = PairwiseDifference(300, 1), torch.randn(700, 300, requires_grad=True)
    extra, _ = peak(lambda: torch.autograd.grad(layer(v).sum(), v))
    assert 4 * 700 * 300 ** 2 > 100 * extra


def test_double_backpropagation_is_linear_too():
    layer, v = PairwiseDifference(100, 2), torch.randn(400, 100, requires_grad=True)
    penalty = lambda: torch.autograd.grad(layer(v).sum(), v, create_graph=True)[0].pow(2).sum().backward()
    extra, largest = peak(penalty)
    # 4 numbers for each given one
    assert extra <= 4 * (v.nbytes + layer.weight.nbytes + 4 * 400 * 2) and largest < 400 * 100 ** 2


def test_patches_are_linear_too():
    """The unfolded patches are the layer's inputs; pairs of them are never stored."""
    layer, x = PatchPairwiseDifference(3, 4, 5), torch.randn(64, 3, 30, 30, requires_grad=True)
    extra, _ = peak(lambda: layer(x).sum().backward())
    assert extra < 64 * 36 * 75 ** 2 * 4 / 10


# --- pairwise difference: the kernel -----------------------------------------------

@pytest.fixture
def kernel():
    pytest.importorskip("triton", reason="needs Triton: pip install triton (Linux)")
    from advlens.kernels import pairwise_triton
    return pairwise_triton


@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("samples, n, out", [(2, 2, 1), (33, 7, 3), (3, 10, 65), (2, 18, 2)])
def test_kernel_equals_twin(samples, n, out, full, dtype, tolerance, kernel, device, monkeypatch):
    # the interpreter takes a millisecond for each program
    for name, value in {"PROGRAMS": 3, "SAMPLES": 16, "PAIRS": 16}.items():
        monkeypatch.setattr(kernel, name, value)
    draw = lambda *shape: torch.randn(*shape, device=device).to(dtype)
    v, weight, grad = draw(samples, n), draw(out, n, n) if full else draw(out, n * (n - 1) // 2), draw(samples, out)
    strided = lambda x: x.mT.contiguous().mT
    ours = kernel.forward(strided(v), strided(weight)), *kernel.backward(strided(grad), strided(v), strided(weight))
    twin = pairwise.forward(v, weight), *pairwise.backward(grad, v, weight)
    for a, b in zip(ours, twin):
        assert a.dtype == dtype and a.shape == b.shape
        assert (a - b).abs().max() <= tolerance * b.abs().max()


def test_kernel_gives_only_what_is_wanted_and_the_same_bits_again(kernel, device):
    v, weight, grad = (torch.randn(*shape, device=device) for shape in ((5, 6), (2, 15), (5, 2)))
    both = kernel.backward(grad, v, weight)
    to_v, nothing = kernel.backward(grad, v, weight, True, False)
    nothing_either, to_weight = kernel.backward(grad, v, weight, False, True)
    assert nothing is None and nothing_either is None
    assert torch.equal(both[0], to_v) and torch.equal(both[1], to_weight)


def test_parts_hold_no_more_than_inputs_and_weights(kernel):
    v, weight = torch.empty(128, 784, device="meta"), torch.empty(100, 784 * 783 // 2, device="meta")
    for grid, steps, results in (((4, 2), 4797, 128 * 100), ((4, 13), 784, v.numel()), ((4797, 2), 4, weight.numel())):
        parts = kernel._parts(grid, steps, results, v, weight)
        assert parts == 1 or (parts * results <= v.numel() + weight.numel() and parts <= steps)
        assert parts * grid[0] * grid[1] >= kernel.PROGRAMS


def test_the_kernels_compile_for_gpus_and_stay_in_registers(without_interpreter):
    """From Colab's T4 (75) on, few outputs and many, half of the pairs and all; 64 bytes are no harm."""
    printed = without_interpreter("""
        import torch
        from advlens.kernels import pairwise_triton as k

        for architecture, dtype, kind, full, outputs in (
                (75, torch.float32, "fp32", False, 100), (80, torch.bfloat16, "bf16", False, 10),
                (90, torch.float32, "fp32", True, 100)):
            for kernel in (k._forward, k._backward_v, k._backward_weight):
                v, weight = torch.empty(1, 3, dtype=dtype), torch.empty(outputs, *(3, 3) if full else (3,))
                options = k._options(v, weight, narrow=kernel is k._backward_v)
                warps = options.pop("num_warps")
                kinds = {"sums": "*fp32", "grad": "*" + kind, "v": "*" + kind, "weight": "*" + kind}
                signature = {name: kinds.get(name, "i32") for name in kernel.arg_names if name not in options}
                print(spilled(kernel, signature, options, architecture, warps))
        """)
    assert [int(size) <= 64 for size in printed.split()] == [True] * 9


# --- bad input ---------------------------------------------------------------------

@pytest.mark.parametrize("call, message", [
    (lambda: Angular(3, 2, c=-1.0), "c = -1.0; give a finite number, at least 0"),
    (lambda: Angular(3, 2, c=float("inf")), "c = inf"),
    (lambda: Angular(0, 2), "in_features = 0; give at least 1"),
    (lambda: Angular(3, 2)(torch.zeros(4, 5)), r"shape \(4, 5\); its last dimension must be 3"),
    (lambda: BatchRenorm(3)(torch.zeros(4, 5)), r"shape \(4, 5\); give \(N, 3\) or \(N, 3, H, W\)"),
    (lambda: BatchRenorm(3)(torch.zeros(1, 3)), "one value per channel"),
    (lambda: BatchRenorm(3, d_max=-1.0), "r_max = 3.0, d_max = -1.0"),
    (lambda: BatchRenorm(3, warmup=0), "warmup = 0; give at least 1"),
    (lambda: pairwise.forward(torch.zeros(2, 1), torch.zeros(4, 0)), r"v has shape \(2, 1\)"),
    (lambda: BatchRenorm(3, r_max=0.5), "r_max = 0.5, d_max = 5.0; give r_max >= 1"),
    (lambda: PairwiseDifference(1, 2), r"1 number\(s\) have no pair; give at least 2"),
    (lambda: PairwiseDifference(3, 0), "out_features = 0; give at least 1"),
    (lambda: PairwiseDifference(3, 2)(torch.zeros(4, 5)), r"shape \(4, 5\); its last dimension must be 3"),
    (lambda: PairwiseDifference(3, 2)(torch.zeros(0, 3)), r"shape \(0, 3\); give \(N, n\) with N >= 1"),
    (lambda: PairwiseDifference(3, 2)(torch.zeros(4, 3).double()), "v is torch.float64 and weight torch.float32"),
    (lambda: PatchPairwiseDifference(1, 2, 3)(torch.zeros(1, 1, 2, 9)), r"give \(N, 1, H, W\) with H and W at least 3"),
    (lambda: PatchPairwiseDifference(1, 2, 3)(torch.zeros(1, 2, 9, 9)), r"give \(N, 1, H, W\)"),
    (lambda: PatchPairwiseDifference(1, 2, 3, 0), "stride = 0; give at least 1"),
    (lambda: PatchPairwiseDifference(1, 2, 1), "have no pair"),
    (lambda: halved(PairwiseDifference(3, 2)),
     "full = False, bias = True; give a layer made with full=True and a bias"),
    (lambda: pairwise.forward(torch.zeros(2, 3), torch.zeros(4, 5)),
     r"weight has shape \(4, 5\) for 3 numbers; give \(out, 3\) or \(out, 3, 3\)"),
    (lambda: pairwise.forward(torch.zeros(2, 3), torch.zeros(0, 3)), r"weight has shape \(0, 3\)"),
    (lambda: pairwise.forward(torch.zeros(2, 3).half(), torch.zeros(4, 3).half()), "bfloat16, float32 or float64"),
    (lambda: pairwise.forward(torch.zeros(2, 3), torch.zeros(4, 3, device="meta")), "v is on cpu and weight on meta"),
])
def test_bad_input_gets_one_clear_error(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_kernel_names_what_it_cannot_do(kernel):
    with pytest.raises(ValueError, match="v is torch.float64; the kernel takes torch.float32 or torch.bfloat16"):
        kernel.forward(torch.zeros(2, 3).double(), torch.zeros(4, 3).double())
    with pytest.raises(ValueError,
                       match="1,225,000,000 pairs of 35,000 numbers; the kernel knows at most 1,073,741,824"):
        kernel.forward(torch.empty(2, 35_000, device="meta"), torch.empty(1, 35_000, 35_000, device="meta"))


def test_running_statistics_of_batch_renorm_are_counted_as_such():
    assert zoo.count(BatchRenorm(8)) == {"total": 32, "trainable": 16, "non-trainable": 16}
