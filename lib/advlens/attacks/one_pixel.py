"""One pixel: differential evolution over places and colours, or every place and colour of a small image.

Both only look at logits, never at gradients.

>>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2, bias=False))
>>> _ = net[1].weight.data.copy_(torch.tensor([[1.0, 1, 1, 1], [1.0, 1, 1, 4]]))
>>> one_pixel_exhaustive(net, torch.tensor([[[[0.5, 0.5], [0.5, 0.0]]]]), torch.tensor([0]))
tensor([[[[0.5000, 0.5000],
          [0.5000, 1.0000]]]])
"""

import torch
from torch import Tensor, nn

from advlens.attacks.boundary import signed_margin, standing
from advlens.geometry import draw
from advlens.inputs import checked, forward, frozen

STEP = 0.5  # su2019's F: the share of the difference of two parents that is added to a third


def one_pixel(model: nn.Module, x: Tensor, y: Tensor, *, pixels: int = 1, population: int = 400, generations: int = 100,
              targeted: bool = False, batch_size: int = 200, generator: torch.Generator | None = None) -> Tensor:
    """One-pixel attack: change at most `pixels` pixels, found by differential evolution.

    x: images (N, C, H, W) in [0, 1].  y: labels (N,), or targets when `targeted`.
    A candidate holds a place and a colour for each pixel.  The first population has
    uniform places and colours from N(0.5, 0.5), and each candidate is challenged by
    r1 + 0.5 (r2 - r3) of three others, without crossover: the larger margin survives (the
    source compares probabilities, but those saturate).  An image leaves with its strongest
    candidate as soon as one succeeds.

    All images share the random numbers, so with a generator the result of an image does
    not depend on its neighbours.  batch_size: candidates in one forward pass; a GPU wants more.

    Returns images in [0, 1]; those that fail, or are misclassified (on target) already,
    come back as they were.  Cost: at most population x (generations + 1) forward passes
    an image, no backward.
    Raises TypeError or ValueError for input outside this contract.  Source: su2019, sec. III.
    """
    x = checked(x, y, batch_size=batch_size)
    channels, height, width = x.shape[1:]
    if not 1 <= pixels <= height * width:
        raise ValueError(f"pixels = {pixels}; give 1 to {height * width}, "
                         f"the number of pixels of a {height} x {width} image")
    if population < 4:
        raise ValueError(f"population = {population}; give at least 4, a parent and three others")
    if generations < 0:
        raise ValueError(f"generations = {generations}; give 0, the first population only, or more")
    result = x.clone()
    with frozen(model), torch.no_grad():
        rows = standing(model, x, y, targeted)  # where the images that still stand are in `result`
        x, y = x[rows], y[rows]
        genes = _first_population((population, pixels, 2 + channels), generator).to(x).expand(len(x), -1, -1, -1)
        child, fitness = genes, x.new_full((len(x), population), -torch.inf)
        for generation in range(generations + 1):
            if generation:
                # The order of a population means nothing: shuffle it, and each is challenged by the three behind it.
                order = draw(torch.randperm, population, like=rows, generator=generator)
                genes, fitness = genes[:, order], fitness[:, order]
                child = _children(genes)
            image = torch.arange(len(x), device=x.device).repeat_interleave(population)
            value = _fitness(model, x, y, image, child.flatten(0, 1), targeted, batch_size).view(fitness.shape)
            better = value > fitness
            genes, fitness = torch.where(better[..., None, None], child, genes), torch.where(better, value, fitness)
            value, best = fitness.max(1)
            fooled = value > 0
            result[rows[fooled]] = _paint(x[fooled], genes[fooled, best[fooled]])
            x, y, rows, genes, fitness = (t[~fooled] for t in (x, y, rows, genes, fitness))
            if len(x) == 0:
                break
    return result


def one_pixel_exhaustive(model: nn.Module, x: Tensor, y: Tensor, *, values: Tensor | None = None,
                         targeted: bool = False, batch_size: int = 200) -> Tensor:
    """Every pixel set to every colour of a palette, one at a time: what one_pixel looks for, exactly, over that grid.

    x, y, targeted, batch_size: as in `one_pixel`.  values: the palette (V, C) in [0, 1]; by
    default the corners of the colour cube, 0 and 1 for grey, eight colours for RGB.

    The colours are tried in the order of the palette, and an image leaves with its strongest
    pixel after the first colour that fools it.  Returns images in [0, 1]; those that fail,
    or are misclassified (on target) already, come back as they were.  Cost: a forward pass
    for each pixel and colour that differ, at most V H W an image: for small images less
    than the evolution, and nothing is missed.
    Raises TypeError or ValueError for input outside this contract.  Source: su2019, sec. III.
    """
    x = checked(x, y, batch_size=batch_size)
    values, result = _palette(values, x), x.clone()
    # The middle of each pixel, in units of the image: (H W, 2).
    middles = torch.cartesian_prod(*((torch.arange(side).to(x) + 0.5) / side for side in x.shape[2:]))
    with frozen(model), torch.no_grad():
        rows = standing(model, x, y, targeted)
        x, y = x[rows], y[rows]
        for colour in values:
            genes = torch.cat([middles, colour.expand(len(middles), -1)], 1)[:, None]  # (H W, 1, 2 + C)
            differs = (x != colour[:, None, None]).any(1).flatten(1)  # (M, H W)
            image, place = differs.nonzero(as_tuple=True)
            fitness = torch.full_like(differs, -torch.inf, dtype=x.dtype)
            fitness[differs] = _fitness(model, x, y, image, genes[place], targeted, batch_size)
            value, best = fitness.max(1)
            fooled = value > 0
            result[rows[fooled]] = _paint(x[fooled], genes[best[fooled]])
            x, y, rows = (t[~fooled] for t in (x, y, rows))
    return result


def _first_population(shape: tuple[int, ...], generator: torch.Generator | None) -> Tensor:
    """Genes (population, pixels, 2 + C): row and column in [0, 1) of the image, then the colour in [0, 1]."""
    single = torch.empty(0)  # the same numbers for images of every precision
    place = draw(torch.rand, *shape[:-1], 2, like=single, generator=generator)
    colour = draw(torch.randn, *shape[:-1], shape[-1] - 2, like=single, generator=generator)
    return torch.cat([place, (0.5 + 0.5 * colour).clamp(0, 1)], -1)


def _children(genes: Tensor) -> Tensor:
    """r1 + 0.5 (r2 - r3) of the three behind each, (M, P, pixels, 2 + C); places go round the edge, colours stop."""
    child = genes.roll(1, 1) + STEP * (genes.roll(2, 1) - genes.roll(3, 1))
    return torch.cat([child[..., :2] % 1, child[..., 2:].clamp(0, 1)], -1)


def _paint(x: Tensor, genes: Tensor) -> Tensor:
    """Images (M, C, H, W) with the pixels of their genes (M, pixels, 2 + C) set."""
    size = torch.tensor(x.shape[2:], device=x.device)
    place = (genes[..., :2] * size).long().minimum(size - 1)  # rounding may reach the edge
    image = torch.arange(len(x), device=x.device)
    x = x.clone()
    for k in range(genes.shape[1]):  # one by one: of two colours at one place the later one stays, on every device
        x[image, :, place[:, k, 0], place[:, k, 1]] = genes[:, k, 2:]
    return x


def _fitness(model, x: Tensor, y: Tensor, image: Tensor, genes: Tensor, targeted: bool, batch_size: int) -> Tensor:
    """How far each candidate is past the boundary, (B,), positive in success: genes (B, pixels, 2 + C) on x[image]."""
    values = x.new_empty(len(image))
    for start in range(0, len(image), batch_size):
        part = slice(start, start + batch_size)
        logits = forward(model, _paint(x[image[part]], genes[part]))
        values[part] = signed_margin(logits, y[image[part]], targeted)
    return values


def _palette(values: Tensor | None, x: Tensor) -> Tensor:
    """The colours (V, C) to try."""
    channels = x.shape[1]
    if values is None:
        return torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * channels).reshape(-1, channels).to(x)
    if not isinstance(values, Tensor) or values.ndim != 2 or values.shape[1] != channels or len(values) == 0:
        given = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise ValueError(f"values is {given}; give a palette (V, {channels}), one row a colour, at least one")
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f"values = {values.tolist()}; colours belong in [0, 1]")
    return values.to(x)
