"""The lab's Python half: what it answers to the page, and the form that it writes."""

import base64
import json
import re

import numpy as np
import pytest
import torch

from advlens import attacks, data, evaluation, geometry, jpeg, zoo
from advlens.course import lab, lab_form, widgets

ASKED = {"id": 1, "kind": "run", "net": "lenet", "data": "digits", "label": None, "attack": "fgsm", "norm": "linf",
         "eps": 0.1, "steps": 8, "stepSize": None, "target": None, "jpeg": None, "adaptive": False, "seed": None}


@pytest.fixture(scope="module")
def three():
    """A 3 of the embedded digits, (1, 1, 28, 28), and its label, (1,)."""
    digits = data.load("digits", "test")
    row = int((digits.labels == 3).nonzero()[0])
    return digits.images[row:row + 1], digits.labels[row:row + 1]


@pytest.fixture(scope="module")
def net():
    return zoo.pretrained("lenet", "digits")


LIBRARY = {"none": lambda net, x, y: x,
           "fgsm": lambda net, x, y: attacks.fgsm(net, x, y, eps=0.1),
           "fgm": lambda net, x, y: attacks.fgm(net, x, y, eps=0.1),
           "pgd": lambda net, x, y: attacks.pgd(net, x, y, eps=0.1, steps=8, random_start=False),
           "ddn": lambda net, x, y: attacks.ddn(net, x, y, steps=8)}


@pytest.mark.parametrize("attack", LIBRARY)
def test_the_picture_is_the_librarys(attack, three, net):
    x, y = three
    said, (adversarial, seen, *walk) = lab.answer(ASKED | {"attack": attack, "label": 3}, x)
    assert torch.equal(adversarial, LIBRARY[attack](net, x, y)) and torch.equal(seen, adversarial)
    judged = evaluation.evaluate(net, x, adversarial, y)
    assert said["success"] == judged.success.item() and said["norms"]["l2"] == pytest.approx(judged.l2.item())
    assert said["clean"]["prediction"] == 3
    assert said["attacked"]["logits"] == pytest.approx(net(adversarial)[0].tolist(), abs=1e-5)


@pytest.mark.parametrize("attack, points", [("none", 1), ("fgsm", 2), ("fgm", 2), ("pgd", 9), ("ddn", 9)])
def test_the_walk_begins_at_the_image_and_passes_the_picture(attack, points, three, net):
    x, _ = three
    said, (adversarial, _, *walk) = lab.answer(ASKED | {"attack": attack}, x)
    assert len(walk) == len(said["walk"]) == points
    assert torch.equal(walk[0], x) and torch.equal(walk[said["best"]], adversarial)
    for point, told in zip(walk, said["walk"]):
        p = net(point).softmax(1)[0]
        assert told["probabilities"] == pytest.approx(p.tolist(), abs=1e-5)
        assert torch.sigmoid(torch.tensor(told["loss"])).item() == pytest.approx(1 - p[3].item(), abs=1e-4)


def test_one_step_of_pgd_has_two_points(three):
    _, (_, _, *walk) = lab.answer(ASKED | {"attack": "pgd", "steps": 1}, three[0])
    assert len(walk) == 2


def test_a_target_is_reached_and_its_loss_rises(three):
    said, (adversarial, *_) = lab.answer(ASKED | {"attack": "pgd", "eps": 0.3, "steps": 20, "target": 8}, three[0])
    assert said["success"] and said["attacked"]["prediction"] == 8
    assert said["walk"][-1]["loss"] > said["walk"][0]["loss"]


def test_without_a_label_the_first_answer_is_attacked(three, net):
    noisy = torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    said, _ = lab.answer(ASKED, noisy)
    assert said["label"] == net(noisy).argmax().item()


def test_a_random_start_follows_the_seed(three):
    def picture(seed):
        return lab.answer(ASKED | {"attack": "pgd", "seed": seed}, three[0])[1][2]

    assert torch.equal(picture(1), picture(1)) and not torch.equal(picture(1), picture(2))


@pytest.mark.parametrize("adaptive", [False, True])
def test_jpeg_judges_and_only_an_adaptive_attack_knows_of_it(adaptive, three, net):
    x, y = three
    said, (adversarial, seen, *_) = lab.answer(ASKED | {"jpeg": 30, "adaptive": adaptive}, x)
    coded = jpeg.compress(adversarial, 30)
    attacked = attacks.BPDA(net, lambda x: jpeg.compress(x, 30)) if adaptive else net
    assert torch.equal(adversarial, attacks.fgsm(attacked, x, y, eps=0.1)) and torch.equal(seen, coded)
    assert said["attacked"]["prediction"] == net(coded).argmax().item()


@pytest.mark.parametrize("attack, norm", [("fgsm", "linf"), ("fgm", "l2"), ("pgd", "linf"), ("pgd", "l2"),
                                          ("ddn", "l2")])
def test_the_smallest_budget_fools_and_a_little_less_does_not(attack, norm, three):
    x, _ = three
    asked = ASKED | {"kind": "smallest", "attack": attack, "norm": norm, "label": 3}
    said, (adversarial,) = lab.answer(asked, x)
    assert said["success"] and said["norm"] == norm
    assert geometry.norm(adversarial - x, norm).item() <= said["eps"] * 1.001
    if attack != "ddn":
        for eps, fools in ((said["eps"], True), (0.97 * said["eps"], False)):
            assert lab.answer(asked | {"kind": "run", "eps": eps}, x)[0]["success"] == fools


def test_what_is_wrong_already_needs_nothing_and_what_stands_has_no_budget(three, monkeypatch):
    x, _ = three
    asked = ASKED | {"kind": "smallest"}
    assert lab.answer(asked | {"label": 5}, x)[0]["eps"] == 0
    monkeypatch.setattr(lab, "_net", lambda *_: Stubborn())
    said, images = lab.answer(asked, x)
    assert said["eps"] is None and not said["success"] and images == []


class Stubborn(torch.nn.Module):
    """Says 3 whatever it sees, though the gradient points somewhere."""

    def forward(self, x):
        return torch.eye(10)[[3]] * 100 + 1e-3 * x.flatten(1)[:, :10]


@pytest.mark.parametrize("wrong", [{"kind": "guess"}, {"attack": "bim"}, {"net": "alexnet"}])
def test_what_is_not_known_is_refused(wrong, three):
    with pytest.raises(ValueError):
        lab.answer(ASKED | wrong, three[0])


# --- the widget ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small():
    return lab.lab(data="digits")


def spec_of(html: str) -> dict:
    return json.loads(re.search(r'class="lens-lab-spec">(.*?)</script>', html, re.DOTALL)[1])


def test_it_begins_before_the_event(small):
    start = spec_of(small.html)["start"]
    assert start["eps"] == 0 and start["step"] is None
    walk = spec_of(lab.lab(attack="pgd", data="digits").html)["start"]
    assert walk["eps"] > 0 and walk["step"] == 0


def test_the_page_carries_the_images_to_the_last_bit_and_what_the_nets_say(small, net):
    group = spec_of(small.html)["groups"]["digits"]
    pixels = np.frombuffer(base64.b64decode(group["pixels"]), np.uint8).reshape(10, *group["shape"])
    digits = data.load("digits", "test")
    first = [int((digits.labels == k).nonzero()[0]) for k in range(10)]
    assert np.array_equal(pixels, digits.images[first].mul(255).round().numpy()) and group["labels"] == list(range(10))
    assert np.allclose(group["clean"]["lenet"], net(digits.images[first]).softmax(1), atol=1e-4)


def test_messages_are_answered_with_their_number(small, three):
    sent = []
    small.send = lambda content, buffers=(): sent.append((content, buffers))
    shape = {"shape": [1, 28, 28]}
    small._asked(small, ASKED | shape | {"id": 7}, [three[0].numpy().tobytes()])
    (content, (pixels,)), = sent
    assert content["id"] == 7 and json.dumps(content)
    images = np.frombuffer(pixels, "float32").reshape(-1, 1, 28, 28)
    assert len(images) == 2 + len(content["response"]["walk"])
    assert np.abs(images[0] - three[0].numpy()).max() == pytest.approx(0.1, abs=1e-6)
    small._asked(small, ASKED | shape | {"id": 8, "attack": "bim"}, [three[0].numpy().tobytes()])
    assert sent[1][0]["id"] == 8 and "attack" in sent[1][0]["error"]


def test_it_stands_in_its_html_and_widgets_names_it(small):
    bundle, _ = small._repr_mimebundle_()
    assert bundle["text/html"] == small.html and 'data-lens="lab"' in small.html
    assert widgets.lab is lab.lab
    assert "LeNet reads this 0 as" in small.html  # without JavaScript


def test_two_makings_are_the_same(small):
    assert lab.lab(data="digits").html == small.html
    assert lab.lab(data="digits", index=1).html.split('name="')[1][:20] != small.html.split('name="')[1][:20]


def test_the_page_offers_all_nets_and_attacks():
    spec = spec_of(lab.page("digits", "shapes").html)
    assert list(spec["nets"]) == list(lab.NETS) and list(spec["attacks"]) == list(lab.ATTACKS) == list(lab_form.HINTS)
    assert {name: group["nets"] for name, group in spec["groups"].items()} == {
        "digits": ["lenet", "mnist_resnet", "fully_connected"], "shapes": ["cifar_net"]}


def test_text_cannot_end_the_script():
    start = {"nets": ["a"], "image": 0, "data": "d", "attack": "fgsm", "norm": "linf", "eps": 0.0, "steps": 1}
    spec = {"full": False, "start": start,
            "attacks": {"fgsm": "FGSM"}, "nets": {"a": "</script><b>"},
            "groups": {"d": {"nets": ["a"], "shape": [1, 1, 1], "classes": ["</script>"], "labels": [0],
                             "limits": {"linf": [1, 0.1], "noise": 1}}}}
    html = lab_form.whole("k", spec, [("<", "<", "data:,")], "<i>")
    assert html.count("</script>") == 2 and "<i>" not in html.replace("<i></i>", "") and spec_of(html) == spec


@pytest.mark.parametrize("wrong", [{"net": "vgg_blocks"}, {"attack": "bim"}, {"attack": ("fgsm", "bim")}, {"steps": 0},
                                   {"steps": 41}, {"index": 10}, {"index": -1}, {"target": 10}, {"eps": -0.1},
                                   {"eps": 0.5}, {"data": "shapes"}, {"net": ("lenet", "cifar_net"), "data": None}])
def test_a_lab_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError):
        lab.lab(**{"data": "digits"} | wrong)
