"""JPEG with chance: what is drawn, where it lands, that gradients pass, and that EOT takes it."""

from __future__ import annotations

import pytest
import torch

from advlens.attacks import EOT
from advlens.defences.compression import QUALITIES, random_blocks, random_quality
from advlens.defences.masking import Randomized
from advlens.jpeg import JPEG

generator = lambda seed=0: torch.Generator().manual_seed(seed)


@pytest.fixture(params=[(1, 28, 28), (3, 32, 24)], ids=["grey", "colour"])
def x(request):
    return torch.rand(3, *request.param, generator=generator(9))


def coded(x):
    return torch.stack([JPEG(quality)(x) for quality in QUALITIES])  # (Q, N, C, H, W)


def test_a_random_quality_is_one_of_those_given_and_each_comes_up(x):
    each, seen = coded(x), set()
    for seed in range(40):
        found = random_quality(x, generator(seed))
        seen |= {i for i in range(len(QUALITIES)) if torch.equal(found, each[i])}
    assert seen == set(range(len(QUALITIES)))


def test_each_block_is_that_of_one_quality(x):
    """Every pixel of a block agrees with one quality, in all images the same one; several qualities come up."""
    each, found = coded(x), random_blocks(x, generator(1))
    height, width = x.shape[2:]
    chosen = []
    for top in range(0, height, 8):
        for left in range(0, width, 8):
            here = (..., slice(top, top + 8), slice(left, left + 8))
            fits = [i for i in range(len(QUALITIES)) if torch.equal(found[here], each[i][here])]
            assert fits
            chosen.append(fits[0])
    assert len(set(chosen)) > 1


@pytest.mark.parametrize("transform", [random_quality, random_blocks])
def test_a_transform_repeats_and_does_not_mix_images(x, transform):
    found = transform(x, generator(2))
    assert torch.equal(found, transform(x, generator(2)))
    assert torch.equal(found[1:2], transform(x[1:2], generator(2)))


def test_a_single_quality_is_plain_jpeg(x):
    assert torch.equal(random_blocks(x, generator(), (35,)), JPEG(35)(x))
    assert torch.equal(random_quality(x, generator(), (35,)), JPEG(35)(x))


@pytest.mark.parametrize("transform", [random_quality, random_blocks])
def test_gradients_pass_straight_through(transform):
    x = torch.rand(2, 1, 28, 28, generator=generator(3)).requires_grad_()
    weight = torch.randn(2, 1, 28, 28, generator=generator(4))
    gradient, = torch.autograd.grad((transform(x, generator()) * weight).sum(), x)
    torch.testing.assert_close(gradient, weight)


@pytest.mark.parametrize("transform", [random_quality, random_blocks])
def test_the_net_draws_anew_and_eot_does_not(transform):
    x, model = torch.rand(2, 1, 28, 28, generator=generator(5)), torch.nn.Flatten()
    answers = [Randomized(model, transform, seed=1)(x) for _ in range(2)]
    assert torch.equal(*answers)
    shaky = Randomized(model, transform, seed=1)
    assert not all(torch.equal(shaky(x), answers[0]) for _ in range(8))
    known = EOT(model, transform, 3)
    assert torch.equal(known(x), known(x))


@pytest.mark.parametrize("transform", [random_quality, random_blocks])
def test_an_empty_list_of_qualities_is_an_error(x, transform):
    with pytest.raises(ValueError, match="qualities = 0"):
        transform(x, generator(), ())
