# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Capacity: does overfitting protect?
#
# Here is a network that is trained longer and longer on the same images. After each training FGSM attacks it. Move the slider from one epoch to forty and watch the curve. **Would you say that the last network is the safest one? What would you ask before you believe it?**

# %% tags=["hide-input", "setup"]
# Run once. On Colab this installs the course, and leaves torch and numpy as they are.
# Elsewhere it does nothing.
import importlib.util, subprocess, sys
from importlib.metadata import version

if importlib.util.find_spec("advlens") is None:
    repository = "git+https://github.com/adversarial-lenses/adversarial-lenses@v0.2.0"
    keep = [f"{name}=={version(name)}" for name in ("torch", "numpy")]
    pip = [sys.executable, "-m", "pip", "install", "-q"]
    done = subprocess.run([*pip, repository, *keep])
    if done.returncode:
        raise SystemExit("Could not install the course: connect to the network, "
                         "or clone the repository and run `pip install .` in it.")

import torch
from advlens import attacks, data, evaluation, geometry, models, zoo
from advlens.course import plots, records, widgets

plots.use_style()

# %% tags=["remove-input"]
import copy
import torch.nn.functional as F

from IPython.display import Markdown

from advlens import layers
from advlens.attacks.losses import margin

aged, deep = (records.read(f"10-{name}")["values"] for name in ("epochs", "depths"))
source = records.read("10-epochs")["provenance"]["source"]
EPS, EPOCHS = aged["eps"], [int(count) for count in aged["nets"]]
by_epochs = {count: list(aged["nets"][str(count)].values()) for count in EPOCHS}  # five trainings each
by_layers = {0: by_epochs[aged["depth epochs"]]} | {int(extra): list(nets.values()) for extra, nets in deep["nets"].items()}
learnt = {extra: nets for extra, nets in by_layers.items() if all("fgsm" in net for net in nets)}  # all five trainings
TRAININGS = len(by_epochs[1])
at = {eps: EPS.index(eps) for eps in EPS}


def fgsm(net, form, eps):
    """Accuracy of one network under one form of FGSM."""
    return net["fgsm"][form][at[eps]]


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def draw_age(epochs):
    ax = plots.axes(height=3.1)
    for net in by_epochs[epochs]:
        ax.plot([0, *EPS], [net["clean"], *net["fgsm"]["naive"]], color=plots.colour("fgsm"), linewidth=1.2, marker=".")
    ax.set(xlabel="eps", ylabel="accuracy", ylim=(0, 1), title=f"{epochs} epoch{'s' * (epochs > 1)}")
    plots.percent(ax)
    return plots.finish(ax, source)


def say_age(epochs):
    now = {eps: mean(fgsm(net, "naive", eps) for net in by_epochs[epochs]) for eps in (0.1, 0.2, 0.3)}
    return f"Accuracy against epsilon for five trainings after {epochs} epoch{'s' * (epochs > 1)}. " + "; ".join(f"at epsilon {eps} {left:.0%} stay right" for eps, left in now.items()) + " (mean)."


widgets.explore(draw_age, alt=say_age, epochs=EPOCHS,
                caption="LeNet under FGSM, after so many epochs; each line is one of five trainings, from other random numbers. The left end of a line is its accuracy without an attack.")

# %% [markdown]
# :::{admonition} At a glance
# :class: glance
# - **You will be able to** train a network past the point where it knows its images by heart; say why the curve above rises; tell a robust network from one that is only sure of itself; and follow a signal through many layers.
# - **Time** 45 minutes of reading and playing.
# - **Threat model** {term}`white box`, untargeted, $\ell_\infty$ norm.
# - **Source** {cite}`unam2021`, section 3.4. What may hide a gradient, and the *strongest attack* of these pages, are the subject of [chapter 07](07_honest_evaluation.ipynb).
# :::
#
# ## Two ways to have too much
#
# The {term}`capacity` of a network is what it can fit. There are two ways to have more of it than the task needs. A network can be trained for so long that it fits its training images better than new ones, which is {term}`overfitting`. Or it can have too many parameters, so many that it could store its training images one by one: {term}`overparameterisation`.
#
# {cite}`unam2021` ask whether either of them makes a network easier to fool. For the first they train LeNet for five numbers of epochs. For the second they put further dense layers, of 256 units each, in front of the last one. Counting the parameters is one line each:

# %% tags=["nbval-check-output"]
for extra in (0, 2, 4, 6, 10, 11, 20):
    numbers = zoo.count(models.LeNet(extra=extra))["total"]
    print(f"LeNet + {extra:2} layers: {numbers:>9,} parameters")

# %% [markdown]
# The first new layer takes $84 \cdot 256 + 256$ numbers, each further one $256 \cdot 256 + 256 = 65{,}792$, and the last layer, which now reads 256 numbers instead of 84, takes 1,720 more. (The source's table 1 prints 743,106 for ten layers; that is the number for eleven.)
#
# Our trainings are these. The source tells neither the numbers of epochs nor the optimiser, so we choose: 1, 3, 10, 20 and 40 epochs, Adam at its usual rate, batches of 128, no moved or mirrored copies of the images, and 10 epochs for the deeper networks. And we train on the first ten thousand images of MNIST instead of all sixty thousand, which makes overfitting easy and thirty trainings affordable. Each network was trained five times, from five {term}`seeds <seed>`; the networks after 1, 3, 10 and 20 epochs are earlier states of those after 40.

# %% tags=["remove-input"]
widgets.predict(
    "LeNet gets twenty further layers: more than twenty times the parameters. It is trained for ten epochs, as the others are. How does it do on its training images?",
    {"Best of all: it can learn them by heart": "It has the room. But room is of no use if no signal comes through.",
     "A little worse than LeNet: more layers need more time": "That is so for a few further layers. Twenty are another matter, as the next figures show.",
     "It learns nothing at all": "Its answers are those of somebody who has not seen the images, and a section below finds out why."},
    answer="It learns nothing at all")

# %% tags=["hide-input", "covered"] mystnb={"image": {"alt": "Two panels of accuracy. Left, against epochs: training and test accuracy rise together, then part: the training lines reach the top, the test lines stay below. Right, against further layers: training and test lines stay close, bend down with more layers and end at a tenth for twenty."}, "figure": {"caption": "Accuracy without an attack, on 10,000 training images (solid) and 10,000 test images (dashed), for five trainings. Left: LeNet by epochs. Right: after ten epochs, by further layers.", "name": "fig-10-fit"}}
panels = plots.axes(2, height=2.9)
for ax, nets, what in zip(panels, (by_epochs, by_layers), ("epochs", "further layers")):
    for part, look, line in (("train", "lenet", "-"), ("test", "mnist_resnet", "--")):
        for seed in range(TRAININGS):
            ax.plot(range(len(nets)), [trained[seed][f"{part} accuracy"] for trained in nets.values()], line, marker=".", linewidth=1.1,
                    color=plots.colour(look), label={"train": "training", "test": "test"}[part] if seed == 0 else None)
    ax.set_xticks(range(len(nets)), [str(key) for key in nets])
    ax.set(xlabel=what, ylabel="accuracy")
    plots.percent(ax)
    ax.legend(loc="lower right" if what == "epochs" else "lower left")
panels[0].set_ylim(0.85, 1.005)
panels[1].set_ylim(0, 1.02)
plots.finish(panels, source)

# %% tags=["remove-input", "covered"]
part = lambda nets, name: mean(net[f"{name} accuracy"] for net in nets)
gap = {count: 100 * (part(nets, "train") - part(nets, "test")) for count, nets in by_epochs.items()}
stuck = by_layers[20]
records.say("After one epoch the networks get {a:.1%} of the training and {b:.1%} of the test images right, after forty {c:.2%} and {d:.1%}: the gap between the two grows from {e:.1f} to {f:.1f} percentage points. That is overfitting, if a mild one: the test accuracy does not fall. (Means of {n} trainings.) "
            "With twenty further layers all {n} networks stay at {g:.0%}, no better than one answer to all images.",
            a=part(by_epochs[1], "train"), b=part(by_epochs[1], "test"), c=part(by_epochs[40], "train"), d=part(by_epochs[40], "test"), e=gap[1], f=gap[40], n=TRAININGS,
            g=part(stuck, "test"), holds=gap[40] > gap[1] + 0.5 and part(by_epochs[40], "test") > part(by_epochs[20], "test") - 0.005 and all(net["test accuracy"] < 0.12 for net in stuck))

# %% [markdown]
# :::{container} covered
# ### What reaches the last layer
#
# Let us look at such a network before its first step of training. Send test images through it and ask of each dense layer: by how much do its outputs differ from one image to the next? If they do not differ, neither does anything behind them, and no gradient can tell the images apart.
# :::

# %% tags=["covered"]
def differences(net, x):
    """How much each dense layer's outputs differ between images: mean standard deviation."""
    found = []
    for layer in net:
        x = layer(x)
        if isinstance(layer, torch.nn.Linear):
            found.append(x.std(0).mean().item())
    return found

# %% tags=["hide-input", "covered"] mystnb={"image": {"alt": "The spread of the outputs against the dense layer, on a logarithmic axis. With PyTorch's own start it falls along a straight line by many powers of ten. With He's start it falls only a little."}, "figure": {"caption": "LeNet with twenty further layers, untrained: how much the outputs of each dense layer differ from image to image, with two ways to draw the first weights.", "name": "fig-10-signal"}}
mnist = data.load("mnist", "test", fallback="digits")
x, y = mnist.images[:200], mnist.labels[:200]
kept = {}
for start in ("PyTorch's start", "He's start"):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = models.LeNet(extra=20).eval().requires_grad_(False)
        if start == "He's start":
            for layer in net:
                if isinstance(layer, (torch.nn.Linear, torch.nn.Conv2d)):
                    torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                    torch.nn.init.zeros_(layer.bias)
    kept[start] = differences(net, x)
ax = plots.axes(height=2.9)
for (start, values), look in zip(kept.items(), plots.OTHERS):
    ax.semilogy(range(1, len(values) + 1), [max(value, 1e-9) for value in values], color=look.colour, marker=look.marker, linestyle=look.line, label=start)
ax.set(xlabel="dense layer", ylabel="differences between images")
ax.locator_params(axis="x", integer=True)
ax.legend(loc="lower left")
plots.finish(ax, mnist.source)

# %% tags=["remove-input", "covered"]
first, he = kept.values()
records.say("With PyTorch's usual first weights each layer passes on about {ratio:.0%} of the differences that reach it. After ten layers one part in {ten:,.0f} is left, and at the end the outputs differ by less than a ten-millionth from image to image: to the network all images are the same. "
            "With the first weights of {{cite}}`he2015`, which are larger, {he:.0%} of the differences reach the last layer. This fits with networks that cannot start to learn; it does not prove that the first weights are the reason, since we trained none from larger ones.",
            ratio=(first[7] / first[0]) ** (1 / 7), ten=first[0] / first[9], he=he[-1] / he[0],
            holds=first[-1] < 1e-7 and he[-1] > 0.1 * he[0] and (first[7] / first[0]) ** (1 / 7) < 0.6)

# %% [markdown]
# ## As it was reported
#
# Now the source's kind of experiment, with our trainings: FGSM along the cross-entropy, as it is usually written, at several budgets. On the left the curves of the opening in one picture. On the right the deeper networks. Those that learnt nothing are left out: a network with one answer for all images has nothing that an attack could take.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels of accuracy against eps under FGSM. Left, one group of lines for each number of epochs: at large eps the groups lie in the order of the epochs, the longest training on top. Right, one group for each number of further layers."}, "figure": {"caption": "FGSM along the cross-entropy: accuracy against eps. Thick: mean of five trainings; thin: each of them. Left: LeNet by epochs. Right: by further layers, after ten epochs.", "name": "fig-10-reported"}}
def draw_curves(ax, nets, form, unit):
    """Accuracy against eps under one form of FGSM, a colour for each number of epochs or layers."""
    for (count, trained), look in zip(nets.items(), plots.OTHERS):
        for net in trained:
            ax.plot([0, *EPS], [net["clean"], *net["fgsm"][form]], color=look.colour, linewidth=0.5, alpha=0.6)
        curve = [mean(net["clean"] for net in trained), *(mean(fgsm(net, form, eps) for net in trained) for eps in EPS)]
        ax.plot([0, *EPS], curve, color=look.colour, marker=look.marker, linestyle=look.line, label=f"{count} {unit}")
    ax.set(xlabel="eps", ylabel="accuracy", ylim=(0, 1))
    plots.percent(ax)
    ax.legend(loc="upper right")


panels = plots.axes(2, height=3.3)
draw_curves(panels[0], by_epochs, "naive", "ep.")
draw_curves(panels[1], learnt, "naive", "layers")
plots.finish(panels, source)

# %% tags=["remove-input"]
rises = {eps: sum(fgsm(last, "naive", eps) > fgsm(first, "naive", eps) for first, last in zip(by_epochs[1], by_epochs[40])) for eps in EPS}
naive = {count: mean(fgsm(net, "naive", 0.2) for net in nets) for count, nets in by_epochs.items()}
records.say("From one epoch to forty the accuracy under FGSM rises at every eps that we tried, in each of the {n} trainings. At eps = 0.2 it grows from {a:.0%} to {b:.0%} (means; {images} test images). So from one end to the other the curves do rise. **Is the network safer, then?**",
            n=TRAININGS, a=naive[1], b=naive[40], images=aged["images"], holds=min(rises.values()) == TRAININGS)

# %% [markdown]
# ## The same step, with more digits
#
# FGSM takes the sign of a gradient. Written for the logits $z$ and the confidences $p = \operatorname{softmax}(z)$, the gradient of the cross-entropy in $z$ is $p_k$ for each class $k$ other than the label $y$, and $p_y - 1$ for the label. Numbers just below 1 lie $6 \cdot 10^{-8}$ apart in `float32`, the usual numbers of 32 bits. So when the logit of the label leads by about 17, $p_y$ is rounded to 1, and the most important term of the gradient is gone. With 64 bits, `float64`, this happens at a lead of about 37. [Chapter 07](07_honest_evaluation.ipynb) has the details.
#
# Does LeNet lead by so much? Training with the cross-entropy never ends: when every training image is right, the loss still falls if all logits grow. Let us look at what that does, with FGSM as one writes it in four lines, first on the LeNet of the other chapters.

# %%
def step(model, x, y, eps):
    """FGSM along the cross-entropy; where the gradient is zero the image stays as it is."""
    point = x.clone().requires_grad_()
    loss = F.cross_entropy(model(point), y, reduction="sum")
    gradient, = torch.autograd.grad(loss, point)
    return (x + eps * gradient.sign()).clamp(0, 1)


lenet = zoo.pretrained("lenet", mnist.name)
in_float32 = step(lenet, x, y, eps=0.2)
in_float64 = step(copy.deepcopy(lenet).double(), x.double(), y, eps=0.2).float()

# %% tags=["remove-input"]
book = attacks.fgsm(lenet, x, y, eps=0.2)  # along the log-odds, in float32
same = lambda images: int((torch.isclose(images, book, atol=1e-5).flatten(1).float().mean(1) > 0.99).sum())
records.say("The library's FGSM follows the log-odds against the label instead, $\\log\\sum_{{k\\ne y}} e^{{z_k}} - z_y$, which need no subtraction from one. On {a} of {n} images the four lines in float64 move more than {most:.0%} of the pixels as it does; in float32 on {b}.",
            a=same(in_float64), b=same(in_float32), n=len(y), most=0.99, holds=same(in_float64) > same(in_float32))

# %% [markdown]
# There is a way to make a network surer of itself without any training: multiply its logits by a number. No answer changes, and neither does the distance of any image from the boundary.

# %% tags=["remove-input"]
widgets.predict(
    "All logits of LeNet are multiplied by four. Then FGSM is computed in float64, numbers of 64 bits, and judged on the same network. How much is left at eps = 0.2, compared with the same FGSM on LeNet as it was?",
    {"As much as before: float64 has digits enough": "It has more than twice as many digits, and that is not always enough.",
     "Less: a surer network gives a larger gradient": "FGSM takes signs only. A gradient four times as large would give the same step.",
     "More, although no answer has changed": "At four times the lead float64 runs out of digits on many images, as float32 does at a smaller lead."},
    answer="More, although no answer has changed")

# %% tags=["remove-input", "covered"]
FACTORS = [0.5, 1, 2, 4, 8]
BUDGETS = [0, 0.05, 0.1, 0.2, 0.3]
sure = {}
for factor in FACTORS:
    net = torch.nn.Sequential(lenet, layers.Scale(factor))
    double = copy.deepcopy(net).double()
    forms = {"cross-entropy, float32": lambda eps: step(net, x, y, eps), "cross-entropy, float64": lambda eps: step(double, x.double(), y, eps).float(),
             "log-odds, float32": lambda eps: attacks.fgsm(net, x, y, eps=eps) if eps else x}
    sure[factor] = {name: [evaluation.accuracy(net, form(eps), y).value for eps in BUDGETS] for name, form in forms.items()}
lead = -margin(evaluation.logits(lenet, x), y).median().item()


def draw_sure(factor):
    ax = plots.axes(height=3.9)
    for (name, left), look in zip(sure[factor].items(), (plots.LOOKS["fgsm"], plots.LOOKS["bim"], plots.LOOKS["clean"])):
        ax.plot(BUDGETS, left, color=look.colour, marker=look.marker, linestyle=look.line, label=name)
    ax.set(xlabel="eps", ylabel="accuracy", ylim=(0, 1), title=f"logits x {factor:g}: median lead {factor * lead:.0f}")
    plots.percent(ax)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return plots.finish(ax, mnist.source)


def say_sure(factor):
    found = "; ".join(f"{left[BUDGETS.index(0.2)]:.0%} along the {name}" for name, left in sure[factor].items())
    return f"Logits times {factor:g}; the label leads by {factor * lead:.0f} in the median. At epsilon 0.2 FGSM leaves {found}."


widgets.explore(draw_sure, alt=say_sure, factor=FACTORS,
                caption="The same LeNet with its logits multiplied by a factor: FGSM along the cross-entropy in two precisions, and along the log-odds. It has the same answers and the same adversarial examples at every position of the slider.")

# %% tags=["remove-input", "covered"]
now = {(factor, name.split()[-1]): left[BUDGETS.index(0.2)] for factor in FACTORS for name, left in sure[factor].items() if "entropy" in name}
odds = [sure[factor]["log-odds, float32"][BUDGETS.index(0.2)] for factor in FACTORS]
records.say("At eps = 0.2 LeNet as it is keeps {a:.0%} of {n} images in float32 and {b:.0%} in float64. With the logits multiplied by {four} it keeps {c:.0%} and {d:.0%}, and multiplied by {eight} it keeps {e:.0%} and {f:.0%}. Along the log-odds it stays between {g:.0%} and {h:.0%} with all five factors: that loss never subtracts from one.",
            a=now[1, "float32"], b=now[1, "float64"], c=now[4, "float32"], d=now[4, "float64"], e=now[8, "float32"], f=now[8, "float64"], g=min(odds), h=max(odds), n=len(y), four=4, eight=8,
            holds=now[1, "float64"] < now[1, "float32"] < now[8, "float32"] and now[1, "float64"] < now[4, "float64"] and max(odds) - min(odds) < 0.1)

# %% [markdown]
# :::{container} covered
# So an accuracy under this FGSM can rise although nothing about the network's answers has changed. Is that what happens in forty epochs?
# :::

# %% tags=["remove-input", "covered"]
lines = ["| network | lead | wrong signs | 32 bits | 64 bits |", "|---|---|---|---|---|"]
both = [(f"{count} epoch{'s' * (count > 1)}", nets) for count, nets in by_epochs.items()] + [(f"{extra} further layers", nets) for extra, nets in learnt.items() if extra]
for name, nets in both:
    shares = [mean(fgsm(net, form, 0.2) for net in nets) for form in ("naive", "64 bits")]
    lines.append(f"| {name} | {mean(net['gap'] for net in nets):.1f} | {mean(net['wrong signs'] for net in nets):.0%} | " + " | ".join(f"{share:.0%}" for share in shares) + " |")
display(Markdown("\n".join(lines)), records.quote("10-epochs"), records.quote("10-depths"))

# %% tags=["remove-input", "covered"]
signs = {count: mean(net["wrong signs"] for net in nets) for count, nets in by_epochs.items()}
lost = max(net["zero"] for nets in by_epochs.values() for net in nets)
exact = {count: mean(fgsm(net, "64 bits", 0.2) for net in nets) for count, nets in by_epochs.items()}
scaled = {count: mean(fgsm(net, "rescaled", 0.2) for net in nets) for count, nets in by_epochs.items()}
apart = max(abs(fgsm(net, "64 bits", eps) - fgsm(net, "log-odds", eps)) for nets in by_epochs.values() for net in nets for eps in EPS)
records.say("Means of {n} trainings, {images} images, the accuracies at eps = 0.2, with FGSM in float32 and in float64. *Lead*: median of the label's logit minus the largest other one. *Wrong signs*: share of the images classified right on which more than a tenth of the gradient's signs differ in float32 from those of the log-odds in float64. "
            "After one epoch the lead is {a:.1f}, and wrong signs are met on {few:.0%} of these images; after forty it is {b:.1f}, and they are met on {c:.0%}. The gradient is exactly zero on none of them: wrong signs suffice. "
            "In float64 forty epochs leave {d:.1%} instead of {e:.1%}; that and the log-odds in float32 differ by {f:.1f} percentage points at most. So the other {g:.1f} points are rounding errors of the attack. Another control is to divide the logits by the lead before the attack, one number for each network: then float32 leaves {h:.0%} after ten epochs and {i:.0%} after forty. (That changes the loss as well, so its numbers are others than those of float64.)",
            n=TRAININGS, images=aged["images"], a=mean(net["gap"] for net in by_epochs[1]), b=mean(net["gap"] for net in by_epochs[40]), few=signs[1], c=signs[40], d=exact[40], e=naive[40], f=100 * apart, g=100 * (naive[40] - exact[40]), h=scaled[10], i=scaled[40],
            holds=signs[40] > signs[1] and all(fgsm(net, "64 bits", 0.2) < fgsm(net, "naive", 0.2) for net in by_epochs[40]) and apart < 0.02 and lost == 0 and scaled[40] < scaled[10])

# %% [markdown]
# ## One step, and many

# %% tags=["remove-input", "covered"]
records.say("In these networks rounding explains the late rise; in others that has to be measured anew, as you will in the exercises. Without it, in float64, the accuracy at eps = 0.2 goes {values}, after {counts} epochs: it still grows at first. Perhaps that part is real. Or perhaps one step along the gradient at the image is a poor guess of the way to the boundary. Many small steps can tell. From here on they follow the log-odds.",
            values=", ".join(f"{exact[count]:.0%}" for count in EPOCHS), counts=", ".join(map(str, EPOCHS)), holds=exact[10] > exact[1] and exact[40] < exact[10] + 0.02)

# %% tags=["remove-input"]
widgets.predict(
    "PGD with forty steps, eps = 0.2. Under FGSM the network after forty epochs kept far more than the one after one epoch. Under PGD?",
    {"It still keeps clearly more": "Both attacks have the same budget, but forty steps can turn where one goes straight on, on this network too.",
     "Next to nothing is left of either": "What FGSM left standing at this budget stood because one step, and a rounded one, was not enough.",
     "It keeps clearly less: overfitting has made it worse": "There is hardly anything left that could be less."},
    answer="Next to nothing is left of either")

# %% tags=["hide-input", "covered"] mystnb={"image": {"alt": "Three panels of accuracy against epochs. At eps 0.1 the lines of the three attacks lie close together and rise at first. At the larger budgets they part: FGSM in float32 climbs, FGSM in float64 less, and PGD lies below both."}, "figure": {"caption": "LeNet by epochs under four attacks; lines and stars are means, small signs single trainings. FGSM along the cross-entropy, on 200 test images; PGD along the log-odds and, at eps = 0.1, the strongest attack, on the first 60 of them.", "name": "fig-10-attacks"}}
record = records.read("10-strongest")["values"]["nets"]
STRONG, N = aged["strong eps"], aged["strong images"]
worst = {name: [len(net["standing"]) / N for net in nets.values()] for name, nets in record.items()}
STRONGEST = {1: worst["1 epoch"], 10: worst["10 epochs"], 40: worst["40 epochs"]}


def pgd(nets, eps):
    return [net["pgd"][at[eps]] for net in nets]


def draw_attacks(ax, nets, eps, strongest, what):
    """Accuracy at one eps against epochs or layers: a line for the mean, a dot for each training."""
    kinds = {"FGSM, float32": ("fgsm", lambda trained: [fgsm(net, "naive", eps) for net in trained]),
             "FGSM, float64": ("bim", lambda trained: [fgsm(net, "64 bits", eps) for net in trained]),
             "PGD": ("pgd", lambda trained: pgd(trained, eps))}
    for name, (look, values) in kinds.items():
        found, look = [values(trained) for trained in nets.values()], plots.LOOKS[look]
        for place, some in enumerate(found):
            ax.plot([place] * len(some), some, look.marker, color=look.colour, markersize=3, alpha=0.6)
        ax.plot(range(len(found)), [mean(some) for some in found], color=look.colour, linestyle=look.line, label=name)
    places = [list(nets).index(count) for count in strongest]
    if places:
        ax.plot(places, [mean(some) for some in strongest.values()], "*", color=plots.INK, markersize=9, label="strongest")
    ax.set_xticks(range(len(nets)), [str(count) for count in nets])
    ax.set(xlabel=what, ylabel="accuracy", title=f"eps = {eps}", ylim=(-0.02, 1))
    plots.percent(ax)


panels = plots.axes(3, height=3.6, sharey=True)
for ax, eps in zip(panels, (0.1, 0.15, 0.2)):
    draw_attacks(ax, by_epochs, eps, STRONGEST if eps == STRONG else {}, "epochs")
panels[0].legend(loc="lower right")
plots.finish(panels, source)

# %% tags=["remove-input", "covered"]
far = {count: mean(pgd(nets, 0.2)) for count, nets in by_epochs.items()}
near = {count: mean(values) for count, values in STRONGEST.items()}
later = [b - a for a, b in zip(STRONGEST[10], STRONGEST[40])]
display(records.say("At eps = 0.2 PGD leaves {a:.1%} after one epoch and {b:.1%} after forty, of {n} images (means of {k} trainings): the rise of the FGSM curve at this budget is gone. "
                    "At eps = 0.1 there is a rise that stays. The strongest attack leaves {c:.0%} after one epoch, {d:.0%} after ten and {e:.0%} after forty. From one to ten epochs the networks also became better on clean images (from {f:.0%} to {g:.0%} of all test images): they were not finished learning.",
                    a=far[1], b=far[40], n=N, k=TRAININGS, c=near[1], d=near[10], e=near[40], f=part(by_epochs[1], "test"), g=part(by_epochs[10], "test"),
                    holds=far[40] < 0.1 and far[40] <= far[1] + 0.02 and near[10] > near[1]), records.quote("10-strongest"))

# %% tags=["remove-input", "covered"]
late = [(mean(pgd([a], 0.15)), mean(pgd([b], 0.15))) for a, b in zip(by_epochs[10], by_epochs[40])]
records.say("Overfitting comes after that. From ten epochs to forty the test accuracy changes by {test:+.1f} percentage points, the accuracy under FGSM at eps = 0.2 by {naive:+.0f} in float32 and by {exact:+.0f} in float64. PGD at eps = 0.15 leaves {a:.0%} and then {b:.0%}, less in {fewer} of {n} trainings. "
            "What the strongest attack leaves at eps = 0.1 changes, in the {n} trainings, by {each} percentage points.",
            test=100 * (part(by_epochs[40], "test") - part(by_epochs[10], "test")), naive=100 * (naive[40] - naive[10]), exact=100 * (exact[40] - exact[10]), a=mean(a for a, _ in late), b=mean(b for _, b in late),
            fewer=sum(b < a for a, b in late), n=TRAININGS, each=", ".join(f"{100 * value:+.0f}" for value in later),
            holds=sum(b < a for a, b in late) > TRAININGS / 2 and naive[40] - naive[10] > exact[40] - exact[10])

# %% [markdown]
# ## More layers
#
# The same for the deeper networks, and the distance to the nearest adversarial example that DDN of [chapter 05](05_least_effort.ipynb) finds.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three panels of accuracy against the number of further layers, at three budgets, under FGSM in float32, FGSM in float64 and PGD."}, "figure": {"caption": "By further layers, after ten epochs: the same attacks on the same images. Networks that learnt nothing are left out.", "name": "fig-10-layers"}}
panels = plots.axes(3, height=3.6, sharey=True)
for ax, eps in zip(panels, (0.1, 0.15, 0.2)):
    draw_attacks(ax, learnt, eps, {0: worst["10 epochs"], 10: worst["10 layers"]} if eps == STRONG else {}, "further layers")
panels[0].legend(loc="lower right")
plots.finish(panels, source)

# %% tags=["remove-input"]
bare, tall = by_layers[0], learnt[6]
fewer = lambda value: sum(value(b) < value(a) for a, b in zip(bare, tall))
one_step, walk, far_off = (lambda net: fgsm(net, "naive", 0.2)), (lambda net: mean(pgd([net], 0.1))), (lambda net: net["distance"])
rounding = max(abs(fgsm(net, "naive", 0.2) - fgsm(net, "64 bits", 0.2)) for net in tall)
records.say("Six further layers against none, means of {n} trainings: FGSM at eps = 0.2 leaves {a:.0%} against {b:.0%}, more in {more} of {n} trainings and less in {less}. A rise that goes beyond the chance of a training we do not see. Rounding plays little part here: float32 and float64 differ by {round:.1f} percentage points at most, and the lead is no larger than without the layers (the table above). "
            "PGD at eps = 0.1 leaves {c:.0%} against {d:.0%}, less in {e} of {n} trainings, and the median distance that DDN finds is {f:.2f} against {g:.2f}, less in {h} of {n}.",
            n=TRAININGS, a=mean(map(one_step, tall)), b=mean(map(one_step, bare)), more=sum(one_step(b) > one_step(a) for a, b in zip(bare, tall)), less=fewer(one_step), round=100 * rounding,
            c=mean(map(walk, tall)), d=mean(map(walk, bare)), e=fewer(walk), f=mean(map(far_off, tall)), g=mean(map(far_off, bare)), h=fewer(far_off),
            holds=0 < fewer(one_step) < TRAININGS and rounding < 0.03 and fewer(walk) > TRAININGS / 2 and fewer(far_off) > TRAININGS / 2 and mean(net["gap"] for net in tall) <= mean(net["gap"] for net in bare))

# %% tags=["remove-input"]
pairs = list(zip(worst["10 epochs"], worst["10 layers"]))
records.say("With ten further layers the strongest attack at eps = 0.1 leaves {b:.0%}, against {c:.0%} without them, less in {less} of {n} trainings. But these networks have also learnt less in their ten epochs: {d:.1%} of the test and {f:.1%} of the training images, against {e:.1%} and {g:.1%}. How they would do when fitted equally well we did not measure.",
            b=mean(worst["10 layers"]), c=mean(worst["10 epochs"]), less=sum(b < a for a, b in pairs), n=TRAININGS, d=part(learnt[10], "test"), e=part(bare, "test"), f=part(learnt[10], "train"), g=part(bare, "train"), holds=part(learnt[10], "train") < part(bare, "train") and part(learnt[10], "test") < part(bare, "test") and sum(b < a for a, b in pairs) > TRAININGS / 2)

# %% [markdown]
# ## Surer, and no farther away
#
# What did the longer training change? Two numbers of each network side by side: the *lead* of the label's logit, which has no unit and grows with every factor, and the *distance* to the nearest adversarial example that DDN finds, in the Euclidean norm and in pixel units, which no factor can change.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels. Left, against epochs: the median lead of the label's logit climbs steadily, while the median distance hardly moves. Right, the same against further layers."}, "figure": {"caption": "Lead (median over images, in logits) and distance (median over the images classified right, pixel units), both divided by their mean value at the left end of the panel. Lines: means; small signs: single trainings.", "name": "fig-10-distance"}}
panels = plots.axes(2, height=3.0)
for ax, nets, what in zip(panels, (by_epochs, learnt), ("epochs", "further layers")):
    for (key, name), look in zip({"gap": "lead", "distance": "distance"}.items(), plots.OTHERS):
        unit = mean(net[key] for net in list(nets.values())[0])
        found = [[net[key] / unit for net in trained] for trained in nets.values()]
        for place, some in enumerate(found):
            ax.plot([place] * len(some), some, look.marker, color=look.colour, markersize=3, alpha=0.6)
        ax.plot(range(len(found)), [mean(some) for some in found], color=look.colour, linestyle=look.line, label=name)
    ax.set_xticks(range(len(nets)), [str(count) for count in nets])
    ax.set(xlabel=what, ylabel="relative to the left end", ylim=(0, None))
    ax.legend(loc="upper left" if what == "epochs" else "lower left")
plots.finish(panels, source)

# %% tags=["remove-input"]
lead = {count: mean(net["gap"] for net in nets) for count, nets in by_epochs.items()}
distance = {count: mean(net["distance"] for net in nets) for count, nets in by_epochs.items()}
shift = [b["distance"] - a["distance"] for a, b in zip(by_epochs[1], by_epochs[40])]
records.say("From one epoch to forty the lead grows by a factor of {a:.1f}, the distance by a factor of {b:.2f} (from {c:.2f} to {d:.2f}, and {e:.2f} after ten; in the {n} trainings the change from one to forty is {each}). The later networks are surer, and their images lie no farther from the boundary in the mean.",
            a=lead[40] / lead[1], b=distance[40] / distance[1], c=distance[1], d=distance[40], e=distance[10], n=TRAININGS, each=", ".join(f"{value:+.2f}" for value in shift),
            holds=lead[40] / lead[1] > 3 and distance[40] <= distance[1])

# %% tags=["remove-input"]
full = records.read("10-full")["values"]
whole = {int(count): list(nets.values()) for count, nets in sorted(full["nets"].items(), key=lambda item: int(item[0]))}
begun, ended = whole[min(whole)], whole[max(whole)]
fewer = lambda measure: sum(measure(b) < measure(a) for a, b in zip(begun, ended))
display(records.say("Does this hold with all of MNIST? Five more trainings of LeNet, on {images:,} images, from {first} epoch to {last}. At eps = 0.3 the naive FGSM in float32 leaves {a:.0%} at first and {b:.0%} at last; in float64 {c:.0%} and {d:.0%}. "
            "PGD at eps = 0.1 leaves {e:.0%} and {f:.0%}, less in {g} of {n} trainings, and the distance falls from {h:.2f} to {i:.2f}, in {j} of {n}. Here even the first epochs brought the boundary nearer.",
            images=full["trained on"], first=min(whole), last=max(whole), n=len(begun), a=mean(fgsm(net, "naive", 0.3) for net in begun), b=mean(fgsm(net, "naive", 0.3) for net in ended),
            c=mean(fgsm(net, "64 bits", 0.3) for net in begun), d=mean(fgsm(net, "64 bits", 0.3) for net in ended), e=mean(pgd(begun, 0.1)), f=mean(pgd(ended, 0.1)),
            g=fewer(walk), h=mean(map(far_off, begun)), i=mean(map(far_off, ended)), j=fewer(far_off),
            holds=mean(map(far_off, whole[3])) < mean(map(far_off, begun)) and fewer(far_off) == len(begun) == 5 and mean(fgsm(net, "naive", 0.3) for net in ended) > mean(fgsm(net, "naive", 0.3) for net in begun)), records.quote("10-full"))

# %% tags=["remove-input"]
audits = records.read("10-audit")["values"]
signs_of = {net: found["findings"] for net, found in audits.items()}
most = max(sign["share"] for found in signs_of.values() for sign in found.values())
display(records.say("Does the audit of chapter 07 see it? On three of the networks, after one epoch, after forty and with ten further layers (first training each, {n} images, eps = 0.1), none of its {k} signs is flagged; none is met on more than {most:.0%} of the images. The audit does not count wrong signs, and attacks of many steps survive them here: after forty epochs PGD at eps = 0.1 leaves {walk:.0%} along the naive cross-entropy in float32 and {odds:.0%} along the log-odds (means of {t} trainings). So a quiet audit is no licence to judge by one step along the naive cross-entropy.",
                    n=" to ".join(str(pick(found["images"] for found in audits.values())) for pick in (min, max)), k=len(signs_of["1 epoch"]), most=most, walk=mean(net["naive pgd"] for net in by_epochs[40]), odds=mean(pgd(by_epochs[40], STRONG)), t=TRAININGS,
                    holds=all(found["passed"] for found in audits.values()) and abs(mean(net["naive pgd"] for net in by_epochs[40]) - mean(pgd(by_epochs[40], STRONG))) < 0.05), records.quote("10-audit"))

# %% [markdown]
# ## What else is known
#
# More capacity can help a network that *must* be robust. {cite:t}`madry2018` train against PGD and need larger networks for it than for clean images; they also see that capacity alone (wider layers, there) raises the accuracy of plainly trained networks under *one-step* attacks, which our further layers did not. {cite:t}`schmidt2018` show for a simple model that robust generalisation can need far more training images than plain generalisation. For clean accuracy, more parameters can lower the test error again after it has risen (*double descent*: {cite:t}`belkin2019`), and so can more epochs {cite}`nakkiran2020`. But {cite:t}`rice2020` find that training against an attack overfits: the robust test error grows while the training goes on, and stopping early helps. That logits keep growing when all training images are right has been proved for linear classifiers of separable data {cite}`soudry2018`.
#
# ## The claims

# %% tags=["remove-input"]
risen = {form: {eps: sum(fgsm(b, form, eps) > fgsm(a, form, eps) for a, b in zip(begun, ended)) for eps in EPS} for form in ("naive", "64 bits")}
listed = lambda found: "eps = " + ", ".join(f"{eps:g}" for eps in found) if found else "no eps"
assert all(mean(fgsm(net, "naive", eps) for net in by_epochs[40]) > mean(fgsm(net, "naive", eps) for net in by_epochs[1]) for eps in EPS)
records.verdict("The more epochs, the higher the accuracy under FGSM at each eps.", source="unam2021", where="section 3.4, figure 19a",
                reported="With the number of epochs the accuracy rises at every eps.",
                measured=f"Trained on all {full['trained on']:,} images, {len(begun)} trainings, FGSM along the cross-entropy in float32, {full['images']} test images: after {max(whole)} epochs higher than after {min(whole)} in "
                         + ", ".join(map(str, risen["naive"].values())) + f" trainings at {listed(EPS)}; in float64 in " + ", ".join(map(str, risen["64 bits"].values())) + ". "
                         f"Trained on {aged['trained on']:,} images, mean of {TRAININGS} trainings: higher after 40 epochs than after 1 at every eps tried.",
                verdict="differs",
                why="With all images the rise is there at the larger eps, and there it is much smaller in float64; at the smaller eps it is not there. The source writes down neither its numbers of epochs nor its optimiser; ours are Adam at its usual rate and the epochs above, and under others the curves may rise as it says.")

# %% tags=["remove-input"]
ladder = {eps: [mean(fgsm(net, "naive", eps) for net in nets) for nets in learnt.values()] for eps in EPS}
above = [eps for eps, (none, *deeper) in ladder.items() if min(deeper) > none]
below = [eps for eps, (none, *deeper) in ladder.items() if max(deeper) < none]
records.verdict("In general, more layers raise the accuracy under FGSM.", source="unam2021", where="section 3.4, figure 19b",
                reported="In general, increasing the number of layers increases the accuracy.",
                measured=f"After ten epochs, mean of {TRAININGS} trainings, for {', '.join(map(str, learnt))} further layers: "
                         + "; ".join(f"eps = {eps:g}: " + ", ".join(f"{value:.0%}" for value in ladder[eps]) for eps in (0.05, 0.1, 0.2, 0.3))
                         + f". All deeper networks lie above LeNet at {listed(above)}, all below at {listed(below)}. With twenty layers no network learnt anything.",
                verdict="not tested here",
                why="These networks saw a sixth of the training images, and the source writes down neither optimiser, first weights nor epochs. With this recipe the curves lie close together, above LeNet at some budgets and below it at others, and twenty layers learn nothing. A test would train on all images until every depth fits them equally well.")

# %% tags=["remove-input"]
records.verdict("Overfitting and overparameterisation make a network more robust.", source="unam2021", where="section 3.4",
                reported="In general, overfitting and overparameterisation make the network more robust to adversarial attacks.",
                measured=f"From ten epochs to forty, mean of {TRAININGS} trainings: strongest attack at eps = 0.1 {near[10]:.0%} and {near[40]:.0%}, PGD at eps = 0.15 {mean(pgd(by_epochs[10], 0.15)):.0%} and {mean(pgd(by_epochs[40], 0.15)):.0%}, distance {distance[10]:.2f} and {distance[40]:.2f}. "
                         f"After ten epochs, without and with ten further layers: strongest attack {mean(worst['10 epochs']):.0%} and {mean(worst['10 layers']):.0%}; without and with six: distance {mean(map(far_off, bare)):.2f} and {mean(map(far_off, tall)):.2f}.",
                verdict="not tested here",
                why="Most of these networks saw a sixth of the source's training images. On all of them the epochs were repeated without the strongest attack, and PGD and the distance fall there too (above); the layers were not. In the networks here, what rises under FGSM after the tenth epoch is rounding of the naive gradient. Stronger attacks, which do not depend on it, leave less after forty epochs than after ten, and less with more layers. From one epoch to ten they do become more robust, but then they are still learning.")

# %% tags=["remove-input"]
records.claims([
    {"claim": "Overfitting and overparameterisation have been suggested as properties that make a network susceptible to adversarial attacks.",
     "source": "unam2021", "where": "section 3.4", "reported": "a hypothesis from medical images; no results that support it were found",
     "measured": "digits, one family of networks; a test would take medical images and the networks made for them", "verdict": "not tested here"},
])

# %% [markdown]
# ## The honest end

# %% tags=["remove-input"]
records.say("**What was shown.** On MNIST, for LeNets trained on {few:,} images, {n} trainings each, the accuracy under FGSM along the cross-entropy in float32 rises from {a:.0%} after ten epochs to {b:.0%} after forty at eps = 0.2 ({images} test images). In float64 it is {c:.0%} and {d:.0%}; under PGD {e:.1%} and {f:.1%} ({some} images). "
            "The strongest attack at eps = 0.1 leaves {g:.0%} and {h:.0%}, less in {l} of {n} trainings, and the median distance that DDN finds is {i:.2f} and {j:.2f}, less in {m} of {n}. So the later epochs added certainty and took some robustness away. The networks with ten further layers, which had also learnt less, lost more. The first epochs did add some: a network that has not learnt yet is easy to fool.",
            few=aged["trained on"], n=TRAININGS, a=naive[10], b=naive[40], c=exact[10], d=exact[40], e=far[10], f=far[40], g=near[10], h=near[40], i=distance[10], j=distance[40], l=sum(value < 0 for value in later), m=sum(b['distance'] < a['distance'] for a, b in zip(by_epochs[10], by_epochs[40])), images=aged["images"], some=N,
            holds=naive[40] - naive[10] > exact[40] - exact[10] and far[40] <= far[10] and sum(value < 0 for value in later) > TRAININGS / 2 and distance[40] <= distance[10] and near[10] - mean(worst['10 layers']) > near[10] - near[40])

# %% [markdown]
# **What is open.** One family of networks, one data set, one optimiser at one rate; for the layers and the strongest attack a sixth of the training images. Wider layers instead of more of them. Deep networks that are made to learn, by other first weights or by {term}`batch normalisation`. And networks that are trained *against* an attack, for which more capacity does help {cite}`madry2018`. The strongest attack, like every attack, gives an upper bound only.
#
# ## Exercises
#
# 1. **By hand.** What further layers cost, and what float32 keeps of a sure answer.
# 2. **Code.** The temperature of a network: bring its logits to one scale without changing an answer.
# 3. **Measure.** Ten small networks, some trained briefly and some for long, and three attacks on them.
# 4. **Break it.** A network that knows every training image by heart.
# 5. **Think.** A curve that rises with depth.
#
# [Exercises for this chapter](../exercises/student/10_capacity.ipynb)
#
# ## Take-away
#
# - A curve under one weak attack can rise for at least three reasons: the network got better, the attack's arithmetic got worse, or one step was not enough. They need different controls.
# - Training with the cross-entropy makes logits grow, and large logits cost the naive gradient its signs. Following the log-odds or the margin costs nothing and does not have this problem.
# - The lead of a logit is no distance. Multiply all logits by a number and only the lead changes.
# - More parameters do not help a network through which no signal comes. Look at training accuracy before you compare robustness.
# - Compare like with like: clean accuracy beside robust accuracy, several trainings, and the strongest attack.
#
# ## Where the numbers come from
#
# The parameter counts, the signal through an untrained network and LeNet with multiplied logits are computed live, on the data named under each figure. The records `10-epochs`, `10-depths`, `10-strongest`, `10-audit` and `10-full` are always about real data; `advlens record 10-epochs` measures the first again, and trains the networks that it needs. The functions are in `measurements/10_capacity.py`. The trained networks are not part of the repository.
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
