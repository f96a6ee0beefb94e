"""What a defence costs: `python benchmarks/training.py`.

One training step each (examples, forward, backward, Adam).  Goals, from counting passes
(a plain step is 3 forward passes' worth): GMR 2, FGSM with a random start 5/3, PGD-7
17/3 of a plain step.  That count holds for deep nets: a plain step spends nothing on the
gradient of the first layer's input, which LeNet, with little else to do, pays for dearly.
Against ART's AdversarialTrainer and torchattacks in a loop by hand: never slower.
Saliency and Grad-CAM against Captum: never slower.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import compare
from advlens import data, models, training, zoo
from advlens.defences import adversarial, pairing, penalties
from advlens.saliency import grad_cam, gradient, upsample

EPS, STEPS, BATCH = 0.1, 7, 128
STEP_SIZE = 2.5 * EPS / STEPS


class Stepper:
    """A net in training mode, its optimizer, and one step after another on the same batch, as `fit` makes them."""

    def __init__(self, x: Tensor, y: Tensor, build=models.LeNet):
        self.x, self.y = x, y
        torch.manual_seed(0)
        self.model = build().train()
        self.descent = torch.optim.Adam(self.model.parameters(), lr=1e-4)
        self.generator = torch.Generator().manual_seed(0)

    def step(self, objective: training.Objective) -> None:
        value, _ = objective(self.model, self.x, self.y, F.cross_entropy, self.generator)
        self.descent.zero_grad()
        value.backward(inputs=list(self.model.parameters()))
        self.descent.step()


def steps(what: str, x: Tensor, y: Tensor, build, objectives: dict[str, training.Objective], n: int) -> str:
    """One block: n steps of each objective; the ratio is to the first one."""
    def run(objective):
        stepper = Stepper(x, y, build)
        return lambda: [stepper.step(objective) for _ in range(n)]

    return compare.times(f"{what}, {n} steps of {len(x)} images", "what the passes cost",
                         {name: run(o) for name, o in objectives.items()})


def with_torchattacks() -> training.Objective:
    """The same PGD by torchattacks, and a plain step on what it returns."""
    torchattacks = compare.peer("torchattacks")

    def objective(model, x, y, loss, generator):
        attack = torchattacks.PGD(model, eps=EPS, alpha=STEP_SIZE, steps=STEPS, random_start=True)
        worst = attack(x, y)
        return training.plain(model.train(), worst, y, loss, generator)

    return objective


def with_art(x: Tensor, y: Tensor, n: int):
    """n steps of ART's AdversarialTrainer: the same PGD, every image of the batch replaced."""
    art, evasion = compare.peer("art.estimators.classification"), compare.peer("art.attacks.evasion")
    trainer = compare.peer("art.defences.trainer").AdversarialTrainer
    model = Stepper(x, y).model
    classifier = art.PyTorchClassifier(model, nn.CrossEntropyLoss(), tuple(x.shape[1:]), 10,
                                       optimizer=torch.optim.Adam(model.parameters(), lr=1e-4),
                                       clip_values=(0.0, 1.0), device_type="cpu")
    attack = evasion.ProjectedGradientDescent(classifier, eps=EPS, eps_step=STEP_SIZE, max_iter=STEPS,
                                              num_random_init=1,
                                              batch_size=len(x), verbose=False)
    images, labels = x.numpy(), F.one_hot(y, 10).numpy()
    return lambda: trainer(classifier, attack, ratio=1.0).fit(images, labels, batch_size=len(x), nb_epochs=n)


def adversarial_step(x: Tensor, y: Tensor, n: int = 10) -> str:
    """PGD-7 training: ours, torchattacks in a loop, ART."""
    ours, theirs = Stepper(x, y), Stepper(x, y)
    pgd, other = adversarial.pgd_training(eps=EPS, steps=STEPS), with_torchattacks()
    return compare.times(f"PGD-{STEPS} training, {n} steps of {len(x)} images, LeNet", "never slower", {
        "ours": lambda: [ours.step(pgd) for _ in range(n)],
        "torchattacks": lambda: [theirs.step(other) for _ in range(n)],
        "ART AdversarialTrainer": with_art(x, y, n),
    }, repetitions=3)


def seeing(x: Tensor, y: Tensor, model: nn.Module) -> str:
    """Saliency and Grad-CAM against Captum, and how far the results differ."""
    captum = compare.peer("captum.attr")
    layer = model[4]
    saliency, cam = captum.Saliency(model), captum.LayerGradCam(model, layer)
    theirs = {"saliency": lambda: saliency.attribute(x, target=y, abs=False),
              "cam": lambda: captum.LayerAttribution.interpolate(cam.attribute(x, target=y, relu_attributions=True),
                                                                 (28, 28), "bilinear")}
    ours = {"saliency": lambda: gradient(model, x, y), "cam": lambda: upsample(grad_cam(model, layer, x, y), (28, 28))}
    far = lambda key: (ours[key]().squeeze() - theirs[key]().detach().squeeze()).abs().max()
    differ = lambda key: f"largest difference {far(key):.1e}"
    return "\n".join(compare.times(f"{name}, LeNet, {len(x)} images", "never slower",
                                   {"ours": ours[key], "captum": theirs[key]}, note=differ(key))
                     for name, key in (("saliency", "saliency"), ("Grad-CAM, upsampled", "cam")))


def table() -> str:
    """What each kind of step costs against a plain one, and our PGD training and saliency against the peers'."""
    costs = {"plain": training.plain, "FGSM, goal 1.67": adversarial.fgsm_training(eps=EPS),
             f"PGD-{STEPS}, goal {(2 * STEPS + 3) / 3:.2f}": adversarial.pgd_training(eps=EPS, steps=STEPS),
             f"ALP-{STEPS}, goal {(2 * STEPS + 6) / 3:.2f}": pairing.adversarial_pairing(0.5, eps=EPS, steps=STEPS),
             "squeezing, goal 1.00": pairing.squeezing(0.05), "GMR, goal 2.00": penalties.gradient_magnitude(0.5)}
    photos = data.load("cifar10", "test", fallback="shapes")[:BATCH // 4]
    digits = data.load("mnist", "test", fallback="digits")
    x, y = digits.images[:BATCH], digits.labels[:BATCH]
    return "\n".join([
        steps("VggBlocks: objectives against a plain step", photos.images, photos.labels, models.VggBlocks, costs, 3),
        steps("LeNet: objectives against a plain step", x, y, models.LeNet, costs, 10),
        adversarial_step(x, y),
        seeing(digits.images[:500], digits.labels[:500], zoo.pretrained("lenet", digits.name)),
    ])


if __name__ == "__main__":
    print(compare.HEADER)
    print(table())
