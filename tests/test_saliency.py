"""Saliency, Grad-CAM and pixel interactions: equal to Captum, to finite differences and to autograd's own Hessian."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from advlens import saliency, zoo
from advlens.saliency import grad_cam, gradient, is_piecewise_linear, magnitude, pixel_interactions, upsample
from nets import After


def smooth(activation=nn.Softplus, channels: int = 2, seed: int = 0) -> nn.Sequential:
    """A small net for 5x5 images, in double precision."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(channels, 4, 3), activation(), nn.Flatten(),
                             nn.Linear(36, 6), activation(), nn.Linear(6, 3)).double()


@pytest.fixture
def images():
    return torch.rand(4, 2, 5, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.fixture
def pixels():
    return torch.tensor([[0, 0], [2, 3], [4, 1], [1, 4]])


@pytest.fixture
def trained(lenet, digits):
    """LeNet in double precision, and 12 images with classes that are not all the predicted ones."""
    some = digits.sample(12)
    return lenet.double(), some.images.double(), (some.labels + torch.arange(12) % 3) % 10


# --- oracles -----------------------------------------------------------------------

def test_gradient_equals_captum(trained, peer):
    model, x, y = trained
    theirs = peer("captum.attr").Saliency(model)
    torch.testing.assert_close(gradient(model, x, y), theirs.attribute(x, target=y, abs=False), rtol=0, atol=1e-12)
    torch.testing.assert_close(gradient(model, x, y).abs(), theirs.attribute(x, target=y, abs=True), rtol=0, atol=1e-12)


@pytest.mark.parametrize("index", [1, 3, 4, 6])
def test_grad_cam_equals_captum(index, trained, peer):
    model, x, y = trained
    theirs = peer("captum.attr").LayerGradCam(model, model[index]).attribute(x, target=y, relu_attributions=True)
    ours = grad_cam(model, model[index], x, y)
    assert ours.shape == (12, *theirs.shape[2:]) and (ours > 0).any()
    torch.testing.assert_close(ours, theirs.squeeze(1), rtol=0, atol=1e-12)


def test_grad_cam_equals_captum_inside_a_residual_net(peer, digits):
    model, x, y = zoo.pretrained("mnist_resnet", "digits").double(), digits.images[:5].double(), digits.labels[:5]
    layer = model[5].residual[1]
    theirs = peer("captum.attr").LayerGradCam(model, layer).attribute(x, target=y, relu_attributions=True)
    torch.testing.assert_close(grad_cam(model, layer, x, y), theirs.squeeze(1), rtol=0, atol=1e-12)


def test_upsampling_equals_captum(peer):
    maps = torch.rand(3, 5, 4, generator=torch.Generator().manual_seed(0))
    theirs = peer("captum.attr").LayerAttribution.interpolate(maps[:, None], (28, 20), interpolate_mode="bilinear")
    torch.testing.assert_close(upsample(maps, (28, 20)), theirs.squeeze(1))


@pytest.mark.parametrize("activation", [nn.Softplus, nn.Sigmoid, nn.Tanh])
@pytest.mark.parametrize("y", [None, torch.tensor([0, 2, 1, 1])], ids=["sum", "class"])
def test_interactions_equal_autograds_hessian(activation, y, images, pixels):
    model = smooth(activation)
    ours = pixel_interactions(model, images, pixels, y)
    for n, (row, column) in enumerate(pixels):
        output = lambda image: model(image[None]).squeeze(0).sum() if y is None else model(image[None])[0, y[n]]
        slope = torch.autograd.functional.jacobian(output, images[n])  # (C, H, W)
        channel = slope[:, row, column].abs().argmax()
        hessian = torch.autograd.functional.hessian(output, images[n])[channel, row, column]  # (C, H, W)
        torch.testing.assert_close(ours[n], slope[channel, row, column].sign() * hessian, rtol=1e-10, atol=1e-13)


def test_interactions_equal_finite_differences_of_the_saliency(images, pixels):
    model, step = smooth(), 1e-5
    x = images.clamp(0.1, 0.9)
    ours = pixel_interactions(model, x, pixels)
    at = lambda image, pixel: magnitude(gradient(model, image))[0, pixel[0], pixel[1]]
    for n, c, i, j in [(0, 0, 0, 0), (0, 1, 2, 2), (1, 0, 2, 3), (2, 1, 4, 4), (3, 0, 0, 3)]:
        there, back = x[n:n + 1].clone(), x[n:n + 1].clone()
        there[0, c, i, j] += step
        back[0, c, i, j] -= step
        change = (at(there, pixels[n]) - at(back, pixels[n])) / (2 * step)
        assert ours[n, c, i, j].item() == pytest.approx(change.item(), rel=1e-5, abs=1e-9)


def test_the_gradient_of_a_linear_net_is_its_weights(images):
    model = nn.Sequential(nn.Flatten(), nn.Linear(50, 3)).double()
    y = torch.tensor([0, 1, 2, 0])
    torch.testing.assert_close(gradient(model, images, y).flatten(1), model[1].weight.detach()[y])
    torch.testing.assert_close(gradient(model, images).flatten(1), model[1].weight.detach().sum(0).expand(4, 50))


# --- second derivatives that are not there ----------------------------------------------

class FunctionalReLU(nn.Module):
    """A ReLU that no list of modules tells."""

    def forward(self, x):
        return F.relu(x)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.LeakyReLU, FunctionalReLU, nn.Identity, nn.Hardtanh])
def test_piecewise_linear_nets_are_refused(activation, images, pixels):
    assert is_piecewise_linear(smooth(activation), images)
    with pytest.raises(ValueError, match=r"second derivative.*exactly 0.*ReLU.*nn\.Softplus"):
        pixel_interactions(smooth(activation), images, pixels)


def test_a_real_relu_net_is_refused_and_a_smooth_one_is_not(lenet, fully_connected, digits):
    x = digits.images[:4]
    assert is_piecewise_linear(lenet, x) and not is_piecewise_linear(fully_connected, x)
    with pytest.raises(ValueError, match="second derivative"):
        pixel_interactions(lenet, x, torch.full((4, 2), 14))
    assert pixel_interactions(fully_connected, x, torch.full((4, 2), 14)).abs().amax((1, 2, 3)).gt(0).all()


def test_a_smooth_net_whose_output_is_silent_has_no_interactions_and_no_error(images, pixels):
    """A counting net that ends in a ReLU answers 0 once all has been counted: that is no piecewise linear net."""
    silent = nn.Sequential(smooth(), nn.ReLU())
    nn.init.constant_(silent[0][5].bias, -100.0)
    assert not pixel_interactions(silent, images, pixels).any()


@pytest.mark.parametrize("activation", [nn.Softplus, nn.Sigmoid, nn.GELU, nn.SiLU])
def test_smooth_nets_are_seen_to_be_smooth(activation, images):
    assert not is_piecewise_linear(smooth(activation), images)


def test_curvature_that_cancels_is_seen():
    """Neither the sum of the logits nor the direction in which all pixels grow shows it."""
    logits = nn.Linear(1, 2, bias=False)
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 1), nn.Softplus(), logits)
    model[1].weight.data, logits.weight.data = torch.tensor([[1.0, -1.0, 2.0, -2.0]]), torch.tensor([[1.0], [-1.0]])
    assert not is_piecewise_linear(model, torch.rand(2, 1, 2, 2))


def test_the_question_leaves_the_net_as_it_was(net, batch):
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert not is_piecewise_linear(net, batch[0])
    assert all(module.training for module in net.modules())
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    with pytest.raises(ValueError, match="pixels belong"):
        is_piecewise_linear(net, 2 * batch[0])


def test_smooth_activations_before_max_pooling_have_curvature(images):
    model = nn.Sequential(nn.Conv2d(2, 3, 2), nn.Softplus(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 3)).double()
    assert not is_piecewise_linear(model, images)


# --- contract ----------------------------------------------------------------------------

PIXELS = torch.tensor([[0, 0], [1, 2], [5, 5], [3, 1]])
MAPS = {
    "gradient": lambda model, x, y: gradient(model, x, y[:len(x)]),
    "grad_cam": lambda model, x, y: grad_cam(model, model[1], x, y[:len(x)]),
    "interactions": lambda model, x, y: pixel_interactions(model, x, PIXELS[:len(x)], y[:len(x)]),
}
every_map = pytest.mark.parametrize("map_of", MAPS.values(), ids=MAPS)


@every_map
def test_neighbours_change_nothing(map_of, net, batch):
    x, y = batch[0][:4].double(), batch[1][:4]
    together = map_of(net.double(), x, y)
    torch.testing.assert_close(map_of(net, x[:1], y), together[:1], rtol=1e-10, atol=1e-12)


@every_map
def test_the_model_and_the_images_are_left_as_they_were(map_of, net, batch):
    net[2].eval()  # frozen batch normalisation inside a net in training
    net[1].weight.requires_grad_(False)
    modes, flags = [m.training for m in net.modules()], [p.requires_grad for p in net.parameters()]
    state, x = {k: v.clone() for k, v in net.state_dict().items()}, batch[0][:4].clone()
    first = map_of(net, x, batch[1])
    assert [m.training for m in net.modules()] == modes and [p.requires_grad for p in net.parameters()] == flags
    assert all(p.grad is None for p in net.parameters()) and not x.requires_grad and x.grad is None
    assert all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert not first.requires_grad and not net[1]._forward_hooks
    assert torch.equal(first, map_of(net, x, batch[1])), "dropout was on"


@every_map
def test_also_after_an_exception(map_of, net, batch):
    modes = [m.training for m in net.modules()]
    with pytest.raises(ValueError):
        map_of(net, batch[0][:4], torch.full((4,), 77))
    assert [m.training for m in net.modules()] == modes and not net[1]._forward_hooks
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


@every_map
def test_also_where_gradients_are_off(map_of, net, batch):
    with torch.no_grad():
        off = map_of(net, batch[0][:4], batch[1])
    assert torch.equal(off, map_of(net, batch[0][:4], batch[1]))
    with torch.no_grad():
        assert not is_piecewise_linear(net, batch[0][:4])


@every_map
def test_a_model_that_answers_in_half_precision(map_of, net, batch):
    """Under autocast inside the model: maps in the images' precision, and nearly the same."""
    class Autocast(nn.Sequential):
        def forward(self, x):
            with torch.autocast("cpu", torch.bfloat16):
                return super().forward(x)

    exact = map_of(net, batch[0][:4], batch[1])
    half = map_of(Autocast(*net), batch[0][:4], batch[1])
    assert half.dtype == torch.float32 and torch.linalg.norm(half - exact) < 0.05 * torch.linalg.norm(exact)


@every_map
def test_a_model_that_normalises_in_place(map_of, net, batch):
    class InPlace(nn.Sequential):
        def forward(self, x):
            return super().forward(x.sub_(0.1).add_(0.1))

    x, before = batch[0][:4], batch[0][:4].clone()
    torch.testing.assert_close(map_of(InPlace(*net), x, batch[1]), map_of(net, x, batch[1]))
    assert torch.equal(x, before)


def test_a_function_is_a_model_too(net, batch):
    x, y = batch[0][:4], batch[1][:4]
    net.eval()
    assert torch.equal(gradient(lambda images: net(images), x, y), gradient(net, x, y))
    assert torch.equal(pixel_interactions(net.forward, x, PIXELS), pixel_interactions(net, x, PIXELS))
    assert not is_piecewise_linear(net.forward, x)
    with pytest.raises(ValueError, match="Conv2d is no part of the model"):
        grad_cam(net.forward, net[1], x, y)


@every_map
def test_a_model_that_cuts_off_its_gradient_is_named(map_of, net, batch):
    with pytest.raises(ValueError, match="cuts its logits off"):
        map_of(nn.Sequential(*net, After(nn.Identity(), torch.Tensor.detach)), batch[0][:4], batch[1])
    with pytest.raises(ValueError, match="cuts its logits off"):
        is_piecewise_linear(After(net, torch.Tensor.detach), batch[0][:4])


def test_the_work_is_one_forward_and_one_backward(lenet, digits, work):
    x, y = digits.images[:7], digits.labels[:7]
    with work(lenet) as saliency_map:
        gradient(lenet, x, y)
    assert (saliency_map.forward, saliency_map.backward) == (7, 7)
    with work(lenet) as cam, work(lenet[4]) as above:  # the layer is lenet[3]
        grad_cam(lenet, lenet[3], x, y)
    assert (cam.forward, cam.backward) == (7, 0), "the backward pass goes no deeper than the layer"
    assert above.backward == 7


def test_interactions_cost_one_forward_and_two_backward(fully_connected, digits, work):
    with work(fully_connected) as done:
        pixel_interactions(fully_connected, digits.images[:5], torch.full((5, 2), 14))
    assert (done.forward, done.backward) == (5, 10)


def test_grad_cam_before_an_activation_in_place(images, peer):
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(36, 3)).double()
    y = torch.tensor([0, 1, 2, 0])
    expected = grad_cam(nn.Sequential(model[0], nn.ReLU(), *model[2:]), model[0], images, y)
    torch.testing.assert_close(grad_cam(model, model[0], images, y), expected)


def test_magnitude_takes_the_largest_channel():
    signed = torch.tensor([1.0, -3.0, 2.0]).view(1, 3, 1, 1)
    assert magnitude(signed).item() == 3 and magnitude(signed).shape == (1, 1, 1)


def test_grad_cam_of_an_image_without_evidence_is_zero(images):
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Softplus(), nn.Flatten(), nn.Linear(36, 3)).double()
    nn.init.constant_(model[3].weight, -1.0)  # every map speaks against every class
    assert not grad_cam(model, model[1], images, torch.tensor([0, 1, 2, 0])).any()


# --- bad input ------------------------------------------------------------------------------

def test_layers_that_cannot_be_weighed_are_refused(trained):
    model, x, y = trained
    with pytest.raises(ValueError, match="Conv2d is no part of the model"):
        grad_cam(model, nn.Conv2d(1, 6, 5), x, y)
    with pytest.raises(ValueError, match=r"Linear returns shape \(12, 120\).*maps"):
        grad_cam(model, model[8], x, y)


def test_a_layer_that_returns_a_tuple_is_refused(images):
    pair = After(nn.Conv2d(2, 2, 3, padding=1), lambda maps: (maps, maps))
    model = After(pair, lambda maps: maps[0].flatten(1)).double()
    with pytest.raises(ValueError, match="After returns a tuple.*maps"):
        grad_cam(model, pair, images, torch.tensor([0, 1, 2, 0]))
    assert not pair._forward_hooks


def test_a_layer_that_is_called_twice_or_never_is_refused(images):
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.same, self.idle, self.last = nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 3), nn.Linear(50, 3)

        def forward(self, x):
            return self.last(self.same(self.same(x)).flatten(1))

    model, y = Odd().double(), torch.tensor([0, 1, 2, 0])
    for layer, times in ((model.same, 2), (model.idle, 0)):
        with pytest.raises(ValueError, match=f"called {times} times"):
            grad_cam(model, layer, images, y)


@pytest.mark.parametrize("pixels, message", [
    (torch.tensor([[0, 0]]), r"\(1, 2\).*shape \(4, 2\)"),
    (torch.zeros(4, 2), "float32"),
    ([[0, 0]] * 4, "list"),
    (torch.tensor([[0, 0], [5, 0], [0, 0], [0, 0]]), "rows lie in 0 to 4"),
    (torch.tensor([[0, 0], [-1, 0], [0, 0], [0, 0]]), "rows lie in 0 to 4"),
])
def test_wrong_pixels_are_refused(pixels, message, images):
    with pytest.raises(ValueError, match=message):
        pixel_interactions(smooth(), images, pixels)


def test_rows_and_columns_of_images_that_are_not_square():
    model, x = nn.Sequential(nn.Flatten(), nn.Linear(24, 2), nn.Softplus()), torch.rand(1, 1, 4, 6)
    assert pixel_interactions(model, x, torch.tensor([[3, 5]])).shape == x.shape
    with pytest.raises(ValueError, match="rows lie in 0 to 3, columns in 0 to 5"):
        pixel_interactions(model, x, torch.tensor([[5, 3]]))


@pytest.mark.parametrize("x, y, error, message", [
    (torch.zeros(4, 2, 5, 5, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64), TypeError, "uint8"),
    (torch.zeros(2, 5, 5), torch.zeros(2, dtype=torch.int64), ValueError, "unsqueeze"),
    (torch.zeros(0, 2, 5, 5), torch.zeros(0, dtype=torch.int64), ValueError, "empty"),
    (torch.full((4, 2, 5, 5), 2.0), torch.zeros(4, dtype=torch.int64), ValueError, "pixels belong"),
    (torch.full((4, 2, 5, 5), torch.nan), torch.zeros(4, dtype=torch.int64), ValueError, "NaN"),
    (torch.zeros(4, 2, 5, 5), torch.zeros(3, dtype=torch.int64), ValueError, "for 4 images"),
    (torch.zeros(4, 2, 5, 5), torch.full((4,), 3), ValueError, "3 classes"),
])
@pytest.mark.parametrize("name", ["gradient", "grad_cam", "pixel_interactions"])
def test_wrong_images_and_classes_are_refused(name, x, y, error, message):
    model = smooth().float()
    more = {"gradient": (x, y), "grad_cam": (model[0], x, y),
            "pixel_interactions": (x, torch.zeros(len(x), 2, dtype=torch.int64), y)}[name]
    with pytest.raises(error, match=message):
        getattr(saliency, name)(model, *more)
