"""Learning without a teacher: each rule does what it is known for, and the fast update is the slow one."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advlens import data, hebbian, layers, models, zoo
from advlens.course import recipes
from advlens.kernels import krotov_hopfield


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(100 * int(os.environ.get("ADVLENS_TEST_SEED", "0")) + seed)


@pytest.fixture(scope="module")
def samples() -> Tensor:
    """Centred samples (400, 5), whose variances are exactly 16, 2, 1, 1, 1/4 along the columns of a reflection."""
    x = torch.randn(400, 5, generator=rng(), dtype=torch.float64)
    white = 20 * torch.linalg.qr(x - x.mean(0)).Q
    reflection = torch.eye(5, dtype=torch.float64) - 0.4
    return white * torch.tensor([16, 2, 1, 1, 0.25], dtype=torch.float64).sqrt() @ reflection


# --- rules for one synapse --------------------------------------------------------

def test_hebb_is_the_mean_product_and_anti_hebb_its_negative():
    x, y = torch.randn(7, 3, generator=rng()), torch.randn(7, 2, generator=rng(1))
    slow = sum(torch.outer(b, a) for a, b in zip(x, y)) / 7
    torch.testing.assert_close(hebbian.hebb(x, y), slow)
    torch.testing.assert_close(hebbian.anti_hebb(x, y), -slow)


def test_clo_weakens_below_its_threshold_and_strengthens_above():
    x, y = torch.ones(1, 1), lambda value: torch.tensor([[value]])
    change = [hebbian.clo(x, y(v), threshold=1.0).item() for v in (-1.0, 0.0, 0.5, 1.0, 1.5)]
    assert change == pytest.approx([0, 0, -0.25, 0, 0.75])


def test_under_hebb_weights_explode_and_under_bcm_they_stay_and_select():
    """Two patterns, one unit: BCM ends with one answer at the threshold's own scale and the other near 0."""
    x = torch.tensor([[1.0, 0.2], [0.2, 1.0]])
    start = torch.tensor([[0.5, 0.4]])
    plain, sliding, threshold = start.clone(), start.clone(), torch.ones(1)
    for _ in range(3000):
        y = x @ sliding.T
        sliding += 0.05 * hebbian.bcm(x, y, threshold)
        threshold = hebbian.slide(threshold, y, 0.2)
        plain += 0.05 * hebbian.hebb(x, x @ plain.T)
    preferred, other = sorted((x @ sliding.T).flatten().tolist(), reverse=True)
    assert preferred == pytest.approx(2, abs=0.05) and other == pytest.approx(0, abs=0.05)  # theta = mean y^2 = y^2 / 2
    assert not plain.norm() < 1e6


def test_the_threshold_of_bcm_follows_the_mean_square():
    y = torch.tensor([[1.0, 2.0], [3.0, 0.0]])
    threshold = torch.zeros(2)
    for _ in range(100):
        threshold = hebbian.slide(threshold, y, 0.2)
    torch.testing.assert_close(threshold, torch.tensor([5.0, 2.0]))


def test_spike_timing():
    dt = torch.tensor([-1000.0, -34.0, -1e-6, 0.0, 1e-6, 17.0, 1000.0])
    e = np.exp(-1)
    assert hebbian.stdp(dt).tolist() == pytest.approx([0, -0.5 * e, -0.5, 0, 1, e, 0], abs=1e-6)


def test_scaling_reaches_the_target_and_keeps_the_ratios():
    x, weights = torch.rand(50, 3, generator=rng()), torch.tensor([[0.1, 0.2, 0.4], [3.0, 1.0, 2.0]])
    scaled = weights.clone()
    for _ in range(400):
        scaled += 0.1 * hebbian.scaling(scaled, x @ scaled.T, target=1.0)
    torch.testing.assert_close((x @ scaled.T).mean(0), torch.ones(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(scaled / scaled[:, :1], weights / weights[:, :1])


# --- Oja and lateral inhibition ------------------------------------------------------

def angle(a: Tensor, b: Tensor) -> float:
    """Degrees between two directions, without regard to the sign."""
    return torch.rad2deg(torch.acos((torch.cosine_similarity(a, b, dim=0)).abs().clamp_max(1))).item()


def test_oja_finds_the_first_component_of_pca(samples):
    pca = pytest.importorskip("sklearn.decomposition").PCA(1).fit(samples.numpy())
    found = hebbian.first_component(samples, generator=rng(3))
    assert angle(found, torch.as_tensor(pca.components_[0])) < 1
    assert found.norm().item() == pytest.approx(1, abs=0.01) and found.dtype == torch.float64


def test_oja_finds_the_first_component_of_handwritten_zeros_and_ones(digits):
    pca = pytest.importorskip("sklearn.decomposition").PCA(1)
    x = torch.nn.functional.avg_pool2d(digits.images[digits.labels < 2], 4).flatten(1)
    x = x - x.mean(0)
    found = hebbian.first_component(x, epochs=60, generator=rng())  # 65 samples
    assert angle(found, torch.as_tensor(pca.fit(x.numpy()).components_[0])) < 1


def test_oja_does_not_explode_from_a_long_start():
    found = hebbian.first_component(torch.ones(2, 784, dtype=torch.float64), generator=rng())
    assert found.norm().item() == pytest.approx(1, abs=0.1)


def test_ojas_rule_rests_at_the_component_of_length_1(samples):
    values, vectors = torch.linalg.eigh(samples.T @ samples)
    first = vectors[:, -1:].T
    rest = hebbian.oja(samples, samples @ first.T, first)
    assert rest.abs().max() < 1e-10
    longer = 1.1 * first
    assert (hebbian.oja(samples, samples @ longer.T, longer) * first).sum() < 0, "a row that is too long shrinks"


def test_lateral_inhibition_decorrelates(samples):
    drive = samples / samples.std()
    before = torch.corrcoef(drive.T).fill_diagonal_(0).abs().max()
    lateral = hebbian.decorrelate(drive, rate=0.05, steps=1500)
    after = torch.corrcoef(hebbian.settle(drive, lateral).T).fill_diagonal_(0).abs().max()
    assert before > 0.3 and after < 1e-3
    assert torch.equal(lateral.diagonal(), torch.zeros(5, dtype=torch.float64)) and torch.allclose(lateral, lateral.T)


def test_activities_settle_where_the_units_agree(samples):
    lateral = 0.1 * torch.randn(5, 5, generator=rng(), dtype=torch.float64).fill_diagonal_(0)
    a = hebbian.settle(samples, lateral)
    torch.testing.assert_close(a, samples + a @ lateral.T)


# --- Krotov-Hopfield: the update against the published one -----------------------------

def published(synapses, inputs, p, k, delta, step):
    """The notebook's update in NumPy: argsort, and a second matrix product."""
    total = (np.sign(synapses) * np.absolute(synapses) ** (p - 1)) @ inputs.T
    rank, columns, g = np.argsort(total, axis=0), np.arange(len(inputs)), np.zeros_like(total)
    g[rank[-1], columns], g[rank[-k], columns] = 1.0, -delta
    ds = g @ inputs - (g * total).sum(1, keepdims=True) * synapses
    return synapses + step * ds / np.abs(ds).max()


CASES = [(50, 60, 20, 2, 2, 0.4), (33, 17, 9, 3, 4, 0.2), (7, 5, 1, 2.5, 7, 0.0), (20, 784, 40, 4, 2, 1.0)]


@pytest.mark.parametrize("units, pixels, n, p, k, delta", CASES)
def test_the_update_is_the_published_one(units, pixels, n, p, k, delta):
    weights, images = torch.randn(units, pixels, generator=rng()), torch.rand(n, pixels, generator=rng(1))
    expected = torch.as_tensor(published(weights.double().numpy(), images.double().numpy(), p, k, delta, 0.1))
    moved = weights.clone()
    krotov_hopfield.update_(moved, images, p=p, k=k, delta=delta, step=0.1)
    assert torch.linalg.norm(moved - expected) <= 1e-3 * torch.linalg.norm(expected - weights)
    exact = weights.double()
    krotov_hopfield.update_(exact, images.double(), p=p, k=k, delta=delta, step=0.1)
    torch.testing.assert_close(exact, expected, rtol=0, atol=1e-12)
    assert (exact - weights).abs().max().item() == pytest.approx(0.1)


def test_a_run_of_updates_is_the_published_one(digits):
    """Many mini-batches of real digits, float32 against the notebook in double precision."""
    images = digits.images.flatten(1)
    ours = torch.randn(60, 784, generator=rng())
    theirs = first = ours.double().numpy()
    for batch in images.split(40):
        krotov_hopfield.update_(ours, batch, p=2, k=2, delta=0.4, step=0.02)
        theirs = published(theirs, batch.double().numpy(), 2, 2, 0.4, 0.02)
    assert np.linalg.norm(ours.numpy() - theirs) <= 1e-3 * np.linalg.norm(theirs - first)


def test_only_the_winner_and_the_kth_are_moved():
    weights, image = torch.randn(9, 6, generator=rng()), torch.rand(1, 6, generator=rng(1))
    order = hebbian.currents(weights, image)[0].argsort(descending=True)
    for k in (2, 5, 9):
        moved = weights.clone()
        krotov_hopfield.update_(moved, image, p=2, k=k, delta=0.4, step=0.1)
        assert set((moved != weights).any(1).nonzero().flatten().tolist()) == {order[0].item(), order[k - 1].item()}


def test_images_of_zeros_change_nothing():
    weights = torch.randn(4, 3, generator=rng())
    moved = weights.clone()
    krotov_hopfield.update_(moved, torch.zeros(2, 3), p=2, k=2, delta=0.4, step=0.1)
    assert torch.equal(moved, weights)


def clear(weights: Tensor, images: Tensor, k: int, p: float = 2, apart: float = 0.0) -> Tensor:
    """The images whose k + 1 largest currents lie further apart: no rounding and no tie decides who wins."""
    ranked = hebbian.currents(weights, images, p=p).sort(1, descending=True).values[:, :k + 1]
    kept = images[(-ranked.diff() > apart).all(1)]
    assert len(kept) > 0
    return kept


def test_images_in_bfloat16_learn_nearly_the_same():
    weights, images = torch.randn(50, 60, generator=rng()), torch.rand(400, 60, generator=rng(1))
    images = clear(weights, images, 2, apart=0.2)
    exact, half = weights.clone(), weights.clone()
    krotov_hopfield.update_(exact, images, p=2, k=2, delta=0.4, step=0.1)
    krotov_hopfield.update_(half, images.bfloat16(), p=2, k=2, delta=0.4, step=0.1)
    assert torch.linalg.norm(half - exact) < 0.05 * torch.linalg.norm(exact - weights)


# --- the kernel against its twin ----------------------------------------------------------

@pytest.mark.parametrize("units, pixels, n, p, k", [(40, 130, 33, 2, 2), (20, 9, 5, 3, 4), (5, 3, 1, 4, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_kernel_is_its_twin(units, pixels, n, p, k, dtype, device):
    kernel = pytest.importorskip("advlens.kernels.krotov_hopfield_triton")
    weights = torch.randn(units, pixels, generator=rng()).to(device)
    images = clear(weights, torch.rand(200, pixels, generator=rng(1)).to(device, dtype), k, p)[:n]
    plain, fast, again = weights.clone(), weights.clone(), weights.clone()
    krotov_hopfield.update_(plain, images, p=p, k=k, delta=0.4, step=0.1)
    kernel.update_(fast, images.T.contiguous().T, p=p, k=k, delta=0.4, step=0.1)
    torch.testing.assert_close(fast, plain, rtol=0, atol=1e-5)
    if n < 10:
        kernel.update_(again, images, p=p, k=k, delta=0.4, step=0.1)
        assert torch.equal(fast, again), "the same bits each time"


def test_images_of_zeros_change_nothing_in_the_kernel_either(device):
    kernel = pytest.importorskip("advlens.kernels.krotov_hopfield_triton")
    moved = torch.ones(4, 3, device=device)
    kernel.update_(moved, torch.zeros(2, 3, device=device), p=2, k=2, delta=0.4, step=0.1)
    assert torch.equal(moved, torch.ones(4, 3, device=device))


@pytest.mark.parametrize("weights, images, k, message", [
    (torch.ones(4, 3).double(), torch.ones(2, 3), 2, "weights are torch.float64; the kernel knows float32 only"),
    (torch.ones(4, 3), torch.ones(2, 3).half(), 2, "images are torch.float16; the kernel takes torch.float32 or"),
    (torch.ones(4, 3), torch.ones(2, 5), 2, r"weights \(4, 3\), images \(2, 5\)"),
    (torch.ones(4, 3), torch.ones(0, 3), 2, r"images \(0, 3\)"),
    (torch.ones(4, 3), torch.ones(2, 3), 5, "k = 5"),
    (torch.ones(3, 4).T, torch.ones(2, 3), 2, "not contiguous"),
])
def test_the_kernel_names_what_it_does_not_know(weights, images, k, message):
    kernel = pytest.importorskip("advlens.kernels.krotov_hopfield_triton")
    with pytest.raises(ValueError, match=message):
        kernel.update_(weights, images, p=2, k=k, delta=0.4, step=0.1)


def test_the_kernel_compiles_for_gpus_and_stays_in_registers(without_interpreter):
    """From Colab's T4 (75) on; 64 bytes are no harm."""
    printed = without_interpreter("""
        from advlens.kernels import krotov_hopfield_triton as kernel

        rank = {"drive": "*TYPE", "chosen": "*i32", "strength": "*fp32", "units": "i32", "k": "i32",
                "punishment": "fp32"}
        change = {"weights": "*fp32", "images": "*TYPE", "chosen": "*i32", "strength": "*fp32", "change": "*fp32",
                  "largest": "*fp32", "n": "i32", "units": "i32", "pixels": "i32", "punishment": "fp32"}
        tile = {name: getattr(kernel, name) for name in ("UNITS", "PIXELS", "IMAGES")}
        most = kernel.MOST_UNITS
        for architecture, kind, block in ((75, "fp32", most), (80, "bf16", 2048)):
            for function, signature, constants, warps in (
                    (kernel._rank, rank, {"BLOCK": block}, kernel._warps(block)), (kernel._change, change, tile, 4)):
                signature = {name: type_.replace("TYPE", kind) for name, type_ in signature.items()}
                print(spilled(function, signature, constants, architecture, warps))
        """)
    assert [int(size) <= 64 for size in printed.split()] == [True] * 4


# --- Krotov-Hopfield: learning -------------------------------------------------------------

@pytest.fixture(scope="module")
def small() -> Tensor:
    """300 handwritten digits in 14 x 14 pixels, (300, 196)."""
    return torch.nn.functional.avg_pool2d(data.load("digits").images[:300], 2).flatten(1)


@pytest.mark.parametrize("p, k, delta", [(2, 2, 0.4), (3, 2, 0.4), (2.5, 4, 0.1)])
def test_rows_end_on_the_sphere(p, k, delta, small):
    weights = hebbian.learn(small, 12, p=p, k=k, delta=delta, step=0.1, epochs=120, batch_size=50, generator=rng())
    sizes = weights.abs().pow(p).sum(1)
    won = torch.bincount(hebbian.currents(weights, small, p=p).argmax(1), minlength=12) > 2
    torch.testing.assert_close(sizes[won], torch.ones_like(sizes[won]), rtol=0, atol=0.05)


def test_the_same_generator_gives_the_same_weights_and_the_global_one_is_left_alone(small):
    before = torch.get_rng_state()
    first, again, other = (hebbian.learn(small, 8, epochs=2, generator=rng(seed)) for seed in (5, 5, 6))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_step_falls_linearly_and_each_epoch_sees_every_image_in_another_order(monkeypatch):
    steps, seen = [], []

    def note(weights, images, *, step, **_):
        steps.append(step)
        seen.append(images[:, 0])

    monkeypatch.setattr(krotov_hopfield, "update_", note)
    hebbian.learn(torch.arange(50.0)[:, None], 3, step=0.6, epochs=2, batch_size=20, generator=rng())
    assert steps == pytest.approx([0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    first, second = torch.cat(seen).view(2, 50)
    assert first.sort().values.tolist() == second.sort().values.tolist() == list(range(50))
    assert not torch.equal(first, second) and not torch.equal(first, first.sort().values)


@pytest.mark.parametrize("given, kept", [(torch.float64, torch.float64), (torch.float32, torch.float32),
                                         (torch.bfloat16, torch.float32)])
def test_weights_are_at_least_float32(given, kept, small):
    weights = hebbian.learn(small.to(given), 8, epochs=1, generator=rng())
    assert weights.dtype == kept and torch.isfinite(weights).all()


def test_features_look_like_the_data_and_not_like_noise(small):
    """Each winner's row points at real images: a much larger cosine than a random row's."""
    weights = hebbian.learn(small, 12, step=0.1, epochs=60, batch_size=50, generator=rng())
    nearest = torch.nn.functional.normalize(small) @ torch.nn.functional.normalize(weights).T
    assert nearest.amax(1).mean() > 0.75


def test_the_exponent_is_p_minus_2_and_not_the_published_slip():
    weights, x = torch.tensor([[0.5, -2.0]]), torch.tensor([[1.0, 1.0]])
    assert hebbian.currents(weights, x, p=2).item() == pytest.approx(-1.5)
    assert hebbian.currents(weights, x, p=3).item() == pytest.approx(0.25 - 4)
    slip = (x * weights * (weights.abs() ** 2 - 2)).sum().item()
    assert slip != pytest.approx(-1.5)


# --- Krotov-Hopfield: the differential equations ----------------------------------------------

@pytest.mark.parametrize("seed", range(4))
def test_the_equations_and_the_rank_rule_agree_on_who_wins(seed):
    weights, image = torch.rand(5, 6, generator=rng(seed)), torch.rand(6, generator=rng(seed + 50))
    start = hebbian.currents(weights, image[None])[0]
    course = hebbian.compete(weights, image, threshold=1e9, delta=0.0, duration=30)  # nobody learns
    assert torch.equal(course.activity[-1].argsort(), start.argsort().cpu())
    torch.testing.assert_close(course.weights[-1], weights.double())

    # With h* between the two strongest, exactly the winner of the rank rule learns, along the same line.
    between = course.activity[-1].topk(2).values.mean().item()
    learning = hebbian.compete(weights, image, threshold=between, duration=60, tau_learning=1e5)
    winner = start.argmax()
    assert (hebbian.response(learning.activity[-1], between, 0.4) == 1).nonzero().flatten().tolist() == [winner]
    fast = weights.clone()
    krotov_hopfield.update_(fast, image[None], p=2, k=2, delta=0.4, step=0.01)
    settled = learning.weights[-1] - learning.weights[100]
    assert torch.cosine_similarity(settled[winner], (fast - weights)[winner].double(), dim=0) > 0.99


@pytest.mark.parametrize("p", [2, 3])
def test_the_winner_of_the_equations_ends_on_the_sphere(p):
    weights, image = torch.rand(4, 6, generator=rng()), torch.rand(6, generator=rng(1))
    weights *= (0.5 / weights.pow(p).sum(1, keepdim=True)) ** (1 / p)  # half the sphere's size
    course = hebbian.compete(weights, image, p=p, threshold=0.05, delta=0.0, inhibition=2.0, tau_learning=10.0,
                             duration=400.0)
    winner = course.activity[-1].argmax()
    sizes = course.weights.abs().pow(p).sum(-1)  # (T, K)
    assert sizes[0, winner].item() == pytest.approx(0.5) and sizes[-1, winner].item() == pytest.approx(1, abs=1e-2)


def test_the_activities_of_the_equations_settle():
    """At rest h_i = I_i - inhibition * sum of the others' positive h."""
    weights, image = torch.rand(3, 4, generator=rng()), torch.rand(4, generator=rng(1))
    h = hebbian.compete(weights, image, threshold=1e9, delta=0.0, inhibition=0.3, duration=60).activity[-1]
    heard = h.clamp_min(0).sum() - h.clamp_min(0)
    torch.testing.assert_close(h, hebbian.currents(weights, image[None])[0].double() - 0.3 * heard, rtol=0, atol=1e-4)
    fast, slow = (hebbian.compete(weights, image, threshold=1e9, delta=0.0, tau=tau, duration=2 * tau).activity
                  for tau in (1.0, 3.0))
    torch.testing.assert_close(fast, slow, rtol=0, atol=1e-4)


def test_the_response_has_three_steps():
    h = torch.tensor([-0.1, 0.0, 0.9, 1.0, 5.0])
    assert hebbian.response(h, threshold=1.0, delta=0.4).tolist() == pytest.approx([0, -0.4, -0.4, 1, 1])


# --- the network --------------------------------------------------------------------------------

def test_the_net_is_the_sources_formula():
    model, x = models.HebbianNet(hidden=30).double(), torch.rand(4, 1, 28, 28, generator=rng(), dtype=torch.float64)
    first, second = model[2].weight, model[4].weight
    hidden = ((x.flatten(1) - 0.1307) / 0.3081 @ first.T).clamp_min(0) ** 4.5
    torch.testing.assert_close(model(x), 0.01 * hidden @ second.T, rtol=1e-5, atol=1e-9)  # 0.1307 is float32 in the net


def test_the_rectified_power_has_the_right_gradient_also_at_zero():
    x = torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64, requires_grad=True)
    gradient = torch.autograd.grad(layers.RePU(4.5)(x).sum(), x)[0]
    assert gradient.tolist() == pytest.approx([0, 0, 4.5 * 2**3.5])


def zero_gradients(name: str, test: data.Dataset, temperature: float) -> Tensor:
    """Share of pixels where the gradient of the cross-entropy of logits / temperature is exactly 0, (N,)."""
    model = torch.nn.Sequential(zoo.pretrained(name, test.name), layers.Scale(1 / temperature))
    x = test.images.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(model(x), test.labels, reduction="sum")
    return (torch.autograd.grad(loss, x)[0] == 0).flatten(1).float().mean(1)


@pytest.mark.parametrize("name", ["hebbian_bio", "hebbian_bp"])
@pytest.mark.parametrize("dataset", ["digits", "mnist"])
def test_both_nets_hide_their_gradient_and_a_temperature_brings_it_back(name, dataset, request):
    test = request.getfixturevalue(dataset)[:360]
    assert zero_gradients(name, test, 1).mean() > 0.95
    assert (zero_gradients(name, test, 1e5) < 1).all()


def test_features_are_learnt_before_the_readout_and_without_labels(digits):
    """What `advlens record checkpoint-hebbian_bio-...` does before it trains the readout."""
    sets = [digits[:200], digits[200:300]]
    model = models.HebbianNet(hidden=20)
    readout, prepared = recipes.learn_features(model, sets, seed=0, epochs=2, step=0.1)
    again = models.HebbianNet(hidden=20)
    shuffled = replace(sets[0], labels=sets[0].labels.flip(0))
    recipes.learn_features(again, [shuffled], seed=0, epochs=2, step=0.1)
    assert torch.equal(model[2].weight, again[2].weight), "the labels play no part"
    for before, after in zip(sets, prepared):
        torch.testing.assert_close(readout(after.images), model(before.images))
        assert torch.equal(after.labels, before.labels)
    assert [p.shape for p in readout.parameters()] == [(10, 20)], "only the readout is left to train"


# --- input ----------------------------------------------------------------------------------------

IMAGES = torch.rand(6, 4, generator=rng())


@pytest.mark.parametrize("change, message", [
    ({"p": 1.5}, "p = 1.5; the rule needs p >= 2"),
    ({"p": float("inf")}, "p = inf"),
    ({"k": 1}, "k = 1 with 5 hidden units; the rank that is punished lies in 2 to 5"),
    ({"k": 6}, "k = 6 with 5 hidden units"),
    ({"delta": -0.1}, "delta = -0.1; give a finite number >= 0"),
    ({"delta": float("nan")}, "delta = nan"),
    ({"step": 0.0}, "step = 0.0; give a finite number > 0"),
    ({"step": float("nan")}, "step = nan"),
    ({"epochs": 0}, "epochs = 0"),
    ({"batch_size": 0}, "batch_size = 0"),
    ({"hidden": 1}, "k = 2 with 1 hidden units"),
    ({"images": IMAGES[:, :0]}, r"images has shape \(6, 0\)"),
    ({"images": IMAGES[:0]}, r"images has shape \(0, 4\); give \(N, D\)"),
    ({"images": IMAGES.view(6, 1, 2, 2)}, r"images has shape \(6, 1, 2, 2\).*x.flatten\(1\)"),
    ({"images": IMAGES * torch.nan}, "images holds NaN or infinity"),
])
def test_learn_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        hebbian.learn(**{"images": IMAGES, "hidden": 5, "epochs": 1} | change)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_wants_a_gradient_competes_and_teaches_as_it_is(dtype):
    """`compete(layer.weight, ...)`: a parameter, and images that an attack made."""
    weights = torch.rand(3, 4, generator=rng(), dtype=dtype)
    images = IMAGES.to(dtype) - IMAGES.mean(0)
    for call in (lambda w, x: hebbian.compete(w, x[0], threshold=0.3, duration=5.0, samples=3).weights,
                 lambda w, x: hebbian.learn(x, 3, epochs=1, generator=rng()),
                 lambda w, x: hebbian.first_component(x, epochs=1, generator=rng()),
                 lambda w, x: hebbian.decorrelate(x, steps=3)):
        found = call(nn.Parameter(weights.clone()), nn.Parameter(images.clone()))
        assert not found.requires_grad and torch.equal(found, call(weights, images))


def test_learn_refuses_integer_images():
    with pytest.raises(TypeError, match="images is torch.uint8; give a float tensor"):
        hebbian.learn((255 * IMAGES).byte(), 5)


@pytest.mark.parametrize("change, message", [
    ({"weights": torch.full((3, 4), torch.inf)}, "weights holds NaN or infinity"),
    ({"image": IMAGES[0, :3]}, r"image has shape \(3,\), the weights are \(3, 4\)"),
    ({"image": IMAGES[0] * torch.nan}, "image holds NaN"),
    ({"p": 1}, "p = 1"),
    ({"delta": -1.0}, "delta = -1.0"),
    ({"tau": 0.0}, "tau = 0.0"),
    ({"tau_learning": 0.0}, "tau_learning = 0.0"),
    ({"duration": -1.0}, "duration = -1.0"),
])
def test_compete_refuses(change, message):
    with pytest.raises(ValueError, match=message):
        hebbian.compete(**{"weights": torch.rand(3, 4, generator=rng()), "image": IMAGES[0], "threshold": 1.0} | change)


@pytest.mark.parametrize("call, message", [
    (lambda: hebbian.hebb(IMAGES, IMAGES[:3]), r"x has shape \(6, 4\) and y \(3, 4\)"),
    (lambda: hebbian.hebb(IMAGES[:0], IMAGES[:0]), "the same N > 0"),
    (lambda: hebbian.hebb(IMAGES[0], IMAGES[0]), r"x has shape \(4,\) and y \(4,\)"),
    (lambda: hebbian.slide(torch.ones(4), IMAGES, 1.5), "rate = 1.5"),
    (lambda: hebbian.slide(torch.ones(4), IMAGES, 0.0), "rate = 0.0"),
    (lambda: hebbian.stdp(IMAGES, rise=0.0), "rise = 0.0"),
    (lambda: hebbian.first_component(IMAGES[:1]), "N >= 2"),
    (lambda: hebbian.first_component(torch.zeros(5, 3)), "no direction to find"),
    (lambda: hebbian.first_component(IMAGES, rate=-1.0), "rate = -1.0"),
    (lambda: hebbian.decorrelate(IMAGES, steps=0), "steps = 0"),
    (lambda: hebbian.decorrelate(torch.full((4, 2), torch.nan)), "drive holds NaN"),
])
def test_the_rules_refuse(call, message):
    with pytest.raises(ValueError, match=message):
        call()
