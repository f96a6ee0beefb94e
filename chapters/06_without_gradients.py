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
# # Without gradients
#
# A bank does not publish the network that reads its cheques. So the attacker trains one of his own, attacks *that*, and sends the result to the bank. Below, the attack knows the first network only. Raise epsilon: the first network gives in soon. **What does the second one say, which took no part?**

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
mnist = data.load("mnist", "test", fallback="digits")
lenet, stranger = (zoo.pretrained(name, mnist.name) for name in ("lenet", "fully_connected"))


def with_momentum(model, x, y, eps, steps=10):
    """A walk along LeNet's gradient; the section on travelling examples explains the momentum."""
    return attacks.pgd(model, x, y, eps=eps, steps=steps, step_size=eps / steps, random_start=False, momentum=1.0)


few = mnist[:40]
few = few[evaluation.classified_right(lenet, few) & evaluation.classified_right(stranger, few)]
budgets = [0.0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.24, 0.28, 0.32]
tried = torch.stack([with_momentum(lenet, few.images, few.labels, eps) for eps in budgets])  # (9, N, 1, 28, 28)
said = {name: torch.stack([evaluation.logits(net, x).softmax(1) for x in tried]) for name, net in (("LeNet", lenet), ("the other", stranger))}
fell = {name: (p.argmax(2) != few.labels).int().argmax(0) for name, p in said.items()}  # the first budget; 0: none
late = (fell["the other"] > fell["LeNet"]) & (fell["LeNet"] > 0)
one = torch.where(late, fell["the other"], 99).argmin()  # of these, the one that the other network gives up first
longer = ((fell["the other"] == 0) | (fell["the other"] > fell["the other"][one])).sum()


def draw_two(eps):
    at, panels = budgets.index(eps), []
    for name, p in said.items():
        shown = p[:, one].amax(0).topk(3).indices.sort().values
        panels.append(plots.pictures.bars(None, p[at, one][shown].numpy(), [mnist.classes[k] for k in shown]))
    return plots.grid([[plots.image(tried[at, one], f"a {mnist.classes[few.labels[one]]}"), *panels]], heads=["what both see", "LeNet", "fully connected"], source=mnist.source)


def say_two(eps):
    answers = [f"{name} says {mnist.classes[p[budgets.index(eps), one].argmax()]} ({p[budgets.index(eps), one].max():.0%})" for name, p in said.items()]
    return f"A digit {mnist.classes[few.labels[one]]} attacked on LeNet with epsilon {eps}: " + ", ".join(answers) + "."


widgets.explore(draw_two, alt=say_two, eps=budgets, flips=budgets[fell["the other"][one]],
                caption=f"One of {len(few)} digits, attacked along the gradient of LeNet, and what LeNet and a fully connected network make of it. It is the first that the second network, which nobody asked anything before, gives up after LeNet (at the mark); there {longer} of the digits hold out longer.")

# %% [markdown]
# Chapters 03 and 04 took the gradient of the network that they attacked. This chapter takes it away. What is left is another network's gradient, or answers: all scores, or only the name of the winning class.
#
# :::{admonition} At a glance
# :class: glance
# - **You will be able to** say what an attacker must know for each attack; measure transfer between networks, and see when a comparison of two attacks is unfair; estimate a gradient from answers and count what it costs; explain how HopSkipJump walks along a boundary that it cannot see; check a random search against a complete one.
# - **Time** 65 minutes of reading and playing.
# - **Threat model** {term}`black box`: no weights, no gradients. What the attacker sees instead stands at the head of each section. Budgets in the $\ell_\infty$ norm, except where the attack looks for the nearest image in the $\ell_2$ norm, or for a single pixel.
# - **Sources** {cite}`unam2021` (why black boxes fall), {cite}`cutilli2021` (sections 3.1.1 and 3.1.7: transfer), {cite}`belaustegui2022` (one pixel; networks without a gradient). The attacks are from {cite}`dong2018`, {cite}`andriushchenko2020`, {cite}`chen2020` and {cite}`su2019`.
# :::

# %% tags=["hide-input"]
from functools import partial

from IPython.display import Markdown
from matplotlib.patches import Circle

from advlens.attacks.losses import margin

some = mnist[:250][evaluation.classified_right(lenet, mnist[:250])][:100]
x, y = some.images, some.labels

# %% [markdown]
# ## What does the attacker see?
#
# | the attacker sees | called | what remains possible |
# |---|---|---|
# | weights, and so every gradient | {term}`white box` | all of chapters 03 and 04 |
# | all {term}`logits`, or all {term}`confidences <confidence>`, of any image that he sends | black box with **scores** | estimate the gradient, or search at random |
# | only the winning class | black box with **labels** | walk along the boundary |
# | nothing of this network, but he can train one of his own | {term}`transfer` | borrow a gradient |
#
# In the second and third row each image sent is a {term}`query`. Queries are the price: a service may charge for them, limit them, or notice that thousands of them look alike. This chapter counts them.
#
# ## Borrow a gradient
#
# *The attacker sees nothing.* He has a network $f_S$ of his own, a {term}`surrogate`, and looks for
#
# $$
# x^\star \;=\; \operatorname*{arg\,max}_{\lVert x' - x \rVert_\infty \le \varepsilon} \mathcal L\bigl(f_S(x'),\, y\bigr).
# $$
#
# He hopes that the network $f_T$, which he cannot see, errs there too: that its answer $\hat y_T(x^\star)$ is not $y$. In code nothing changes but who is asked at the end:

# %%
seed = torch.Generator().manual_seed(0)
made_on_lenet = attacks.pgd(lenet, x, y, eps=0.1, steps=20, generator=seed)
for name in ("lenet", "fully_connected", "mnist_resnet"):
    net = zoo.pretrained(name, mnist.name)
    right = evaluation.classified_right(net, x, y)
    still = evaluation.classified_right(net, made_on_lenet[right], y[right])
    print(f"{name:15} of {right.sum():3} right answers {(~still).sum():3} are lost")

# %% [markdown]
# Where do such examples get furthest? We have five LeNets and five fully connected networks. Within a kind they differ only in the random numbers of their training. All learnt from the same images and labels, more than most attackers have; one without labels can let the target name images of his own {cite}`papernot2017`.

# %% tags=["remove-input"]
widgets.predict(
    "Examples are made on one network and shown to another, at eps = 0.1. Where do they carry over best?",
    {"From one fully connected network to another": "There they carry over several times as often as between two LeNets.",
     "From one LeNet to another LeNet": "Some LeNets hardly notice the examples of the others, others do.",
     "Everywhere alike: all have learnt the same digits": "Then only the digits would matter. But the share depends strongly on the two networks."},
    answer="From one fully connected network to another")

# %% tags=["hide-input", "covered"] mystnb={"image": {"alt": "A table of thirteen rows and thirteen columns, coloured by value. The diagonal is strongest. A block of five by five for the fully connected networks is clearly coloured, the block of the five LeNets much weaker and uneven, the rest nearly blank."}, "figure": {"caption": "Share of right answers lost (in per cent) at eps = 0.1: made on the network of the row, shown to the network of the column. L and F: five trainings each of LeNet and of the fully connected network. R: ResNet, P and B: the two networks of {cite}`belaustegui2022` with one hidden layer, BP and Bio. On the diagonal the attacker has the network itself.", "name": "fig-transfer"}}
moved = records.read("06-transfer")["values"]
names = moved["nets"]
short = [f"{name[0].upper()}{name[-1]}" for name in names[:10]] + ["R", "P", "B"]
table = [[moved["fooled"][source][target]["value"] for target in names] for source in names]
ax = plots.axes(height=4.2)
plots.heat(ax, [[100 * share for share in row] for row in table], form="{:.0f}")
ax.set_xticks(range(len(names)), short)
ax.set_yticks(range(len(names)), short)
ax.set(xlabel="shown to", ylabel="made on")
plots.finish(ax, records.read("06-transfer")["provenance"]["source"])

# %% tags=["remove-input", "covered"]
kinds = {kind: [name for name in names if name.startswith(kind)] for kind in ("lenet", "fully_connected")}
share = lambda source, target: moved["fooled"][source][target]["value"]
mean = lambda values: sum(values) / len(values)
carry = {(a, b): {target: mean([share(source, target) for source in kinds[a] if source != target]) for target in kinds[b]} for a in kinds for b in kinds}
within, across = carry["fully_connected", "fully_connected"], carry["lenet", "fully_connected"]
own = carry["lenet", "lenet"]
records.say("**What we see.** Between two fully connected networks {f_low:.0%} to {f_high:.0%} of the answers are lost, on average over the four sources, for each of the five targets; examples made on LeNets take {l_low:.0%} to {l_high:.0%} from the same five. "
            "A LeNet loses {o_low:.0%} to {o_high:.0%} to its four sisters, depending on which of the five it is. "
            "Random signs of the same size take {noise:.1%} at most ({images} test images, PGD with {steps} steps). And transfer is lopsided: from BP to the five fully connected networks {there:.0%} get through, back {back:.0%}. For ResNet, BP and Bio we have one training each, so the table says nothing about their kind.",
            there=mean([share("hebbian_bp/0", target) for target in kinds["fully_connected"]]), back=mean([share(source, "hebbian_bp/0") for source in kinds["fully_connected"]]),
            f_low=min(within.values()), f_high=max(within.values()), l_low=min(across.values()), l_high=max(across.values()), o_low=min(own.values()), o_high=max(own.values()),
            noise=max(rate["value"] for rate in moved["fooled"]["noise"].values()), images=moved["images"], steps=moved["steps"],
            holds=min(within.values()) > 2 * max(across.values()) and min(within.values()) > max(own.values()) and max(own.values()) > 3 * min(own.values())
            and mean([share("hebbian_bp/0", target) for target in kinds["fully_connected"]]) > 1.5 * mean([share(source, "hebbian_bp/0") for source in kinds["fully_connected"]]))

# %% tags=["remove-input", "covered"]
records.quote("06-transfer")

# %% tags=["remove-input", "covered"]
lent = {target: max(share(source, target) for source in names if source != target) for target in names}
calm = min(lent, key=lent.get)
records.say("A network that withstands borrowed examples need not be robust: in the table {net} loses {most:.1%} at most to any other network, and {own:.0%} on the diagonal.",
            net=short[names.index(calm)], most=lent[calm], own=share(calm, calm), holds=share(calm, calm) > 5 * lent[calm])

# %% [markdown]
# ### The history of it
#
# The paper that found adversarial examples already moved them between networks {cite}`szegedy2014`. {cite}`cutilli2021` retells it (section 3.1.1): the others err far less than the network on which the images were made, but several times more often than on clean images. The attack there was L-BFGS (chapter 05), which looks for the *smallest* perturbation that works, and the networks were fully connected ones on MNIST. Here is the same with one such network, trained five times.

# %% tags=["remove-input"]
smallest = records.read("06-smallest")["values"]
made = smallest["sources"]
selves = [found["wrong"][source]["value"] for source, found in made.items()]
others = [(found["wrong"][target]["value"], made[target]["clean"]["value"]) for source, found in made.items() for target in made if target != source]
times = [wrong / clean for wrong, clean in others]
records.verdict("Examples made with L-BFGS on one network raise the error of other networks to a few times that on clean images, and far less than that of their own network.",
                source="cutilli2021", where="section 3.1.1, retold from Szegedy and others (2014)",
                reported="error rates of the other networks substantially lower than of the network itself; the smallest a few times that on clean images, a few well over 70 %",
                measured=f"five trainings of one fully connected network, {smallest['images']} test images, targets the next class: own error {min(selves):.1%} to {max(selves):.1%}; the twenty pairs of two networks {min(w for w, _ in others):.1%} to {max(w for w, _ in others):.1%}, "
                         f"which is {min(times):.1f} to {max(times):.1f} times the clean error of the network asked ({min(c for _, c in others):.1%} to {max(c for _, c in others):.1%}, a handful of images each)",
                verdict="not tested here",
                why=f"Same attack and data set, but the source mixed networks of several shapes; here all have one. {sum(clean < wrong < min(selves) for wrong, clean in others)} of our {len(others)} pairs have the source's order, between the clean error and that of the network itself. "
                    "A test would train the source's different networks, several times each.")

# %% tags=["remove-input"]
records.quote("06-smallest")

# %% [markdown]
# ## Examples that travel
#
# A walk that follows every turn of one network's gradient ends where *this* network is weak. Two ideas are meant to make it less particular. (A third, not tried here, resizes the image at random before each gradient {cite}`xie2019`.)
#
# **Momentum** {cite}`dong2018`: remember the earlier gradients. With a factor $\mu$, usually 1,
#
# $$
# v_{t+1} = \mu\, v_t + \frac{g_t}{\lVert g_t \rVert_1},
# $$
#
# $$
# x_{t+1} = \Pi\bigl(x_t + \alpha \operatorname{sign}(v_{t+1})\bigr).
# $$
#
# Here $g_t$ is the gradient of the loss at $x_t$, in the loop below of the {term}`margin`; $v_0 = 0$, $\alpha$ is the step, and $\Pi$ the projection onto the budget. What the gradients have in common adds up; what changes from step to step cancels. The method is known as MI-FGSM.

# %%
def walk_with_memory(model, x, y, eps, steps, mu=1.0):
    point, v = x, torch.zeros_like(x)
    for _ in range(steps):
        here = point.clone().requires_grad_()
        g = torch.autograd.grad(margin(model(here), y).sum(), here)[0]
        v = mu * v + g / g.abs().sum((1, 2, 3), keepdim=True)
        point = x + (point + eps / steps * v.sign() - x).clamp(-eps, eps)
        point = point.clamp(0, 1)
    return point

# %% tags=["hide-input"]
heard = []
hook = lenet.register_forward_pre_hook(lambda model, inputs: heard.append(inputs[0].detach()))
attacks.pgd(lenet, x[:20], y[:20], eps=0.1, steps=10, step_size=0.01, random_start=False, momentum=1.0, loss="margin")
hook.remove()
print("the loop above and the library walk the same way:", torch.allclose(heard[-1], walk_with_memory(lenet, x[:20], y[:20], 0.1, 10), atol=1e-6))

# %% [markdown]
# **Several networks**: attack the mean of their logits. What fools all of them at once may fool one more. In the library this is `models.Ensemble([first, second])`, a network like any other.

# %% tags=["remove-input"]
widgets.predict(
    "BIM with and without momentum, ten steps, the same eps, made on one LeNet and shown to three other LeNets. Whose perturbation is longer in the Euclidean norm?",
    {"That with momentum": "Without momentum more pixels turn back on the way and end inside the budget. Momentum keeps them going, and more of them end at its edge.",
     "That without momentum": "A pixel that turns back has moved less in the end, not more.",
     "Neither: the budget is the same": "The budget limits the largest change of a pixel. The length depends on how many pixels use all of it."},
    answer="That with momentum")

# %% tags=["hide-input", "covered"] mystnb={"image": {"alt": "Four panels of answers lost against eps. The first three, for LeNets, fully connected networks and the ResNet as targets: curves for FGSM, BIM, momentum, and momentum on two and on four networks all rise; BIM is the lowest or nearly so. In the fourth, with every pixel at the edge, the curves of BIM and momentum lie close together."}, "figure": {"caption": "Share of right answers lost against the budget, for examples made elsewhere: means over three other LeNets, over three fully connected networks, and one ResNet. Two networks: a LeNet and a fully connected one. Four: two of each. The ResNet is of a kind that no surrogate has. The fourth panel belongs to the comparison at equal length, below.", "name": "fig-travel"}}
journey = records.read("06-travel")["values"]
groups = {"to LeNets": "lenet", "to fully connected": "fully_connected", "to ResNet": "mnist_resnet"}


def lost(walk, eps, kind, form="as it is"):
    """Mean share of answers lost over the targets of a kind."""
    rates = journey["walks"][walk][str(eps)][form]["targets"]
    return mean([rate["value"] for name, rate in rates.items() if name.startswith(kind)])


labels = {"fgsm": "FGSM", "bim": "BIM", "momentum": "momentum", "two nets": "two networks", "four nets": "four networks"}
panels = [(f"{title}, as they are", kind, "as it is") for title, kind in groups.items()] + [("to LeNets, every pixel at the edge", "lenet", "to the edge")]
axes = plots.axes(4, height=3.0, sharey=True)
for ax, (title, kind, form) in zip(axes, panels):
    for (walk, label), look in zip(labels.items(), (*(plots.LOOKS[name] for name in ("fgsm", "bim", "momentum")), plots.OTHERS[0], plots.OTHERS[3])):
        if form == "as it is" or walk in ("bim", "momentum"):
            ax.plot(journey["eps"], [lost(walk, eps, kind, form) for eps in journey["eps"]], color=look.colour, marker=look.marker, linestyle=look.line, label=label)
    ax.set(title=title, xlabel="eps", ylabel="answers lost", ylim=(0, 1))
    plots.percent(ax)
axes[0].legend(loc="upper left")
plots.finish(axes, records.read("06-travel")["provenance"]["source"])

# %% tags=["remove-input", "covered"]
records.quote("06-travel")

# %% [markdown]
# :::{container} covered
# Momentum seems to carry further than BIM. But is it the memory, or only the length? Two perturbations with the same largest change may differ much in size, and a longer one may carry further for that reason alone. So we make both about equally long: each pixel keeps the sign of its change, and moves all the way to the edge of the budget. That is another example, not the same one made longer. (In the table: the length of the perturbation, ℓ₂, and the per cent of answers lost by the LeNets, the fully connected networks, FC, and the ResNet.)
# :::

# %% tags=["remove-input", "covered"]
at = "0.2"
both = {form: {walk: journey["walks"][walk][at][form] for walk in ("fgsm", "bim", "momentum", "two nets", "four nets")} for form in ("as it is", "to the edge")}
lines = ["| eps = 0.2 | ℓ₂ | LeNet | FC | ResNet |", "|---|---|---|---|---|"]
for form, walks in both.items():
    for walk, found in walks.items():
        if walk != "fgsm" or form == "as it is":
            cells = " | ".join(f"{100 * lost(walk, at, kind, form):.0f}" for kind in groups.values())
            lines.append(f"| {labels[walk]}{' (edge)' if form == 'to the edge' else ''} | {found['l2']:.2f} | {cells} |")
Markdown("\n".join(lines))

# %% tags=["remove-input", "covered"]
ends = {mu: attacks.pgd(lenet, x[:60], y[:60], eps=0.2, steps=10, step_size=0.02, random_start=False, momentum=mu) - x[:60] for mu in (0.0, 1.0)}
edge = {mu: (d.abs() > 0.199).sum() / (d != 0).sum() for mu, d in ends.items()}  # of the pixels that moved
gains = {form: [100 * pair["difference"] for pair in walks["momentum"]["against bim"].values()] for form, walks in both.items()}
length = {form: {walk: found["l2"] for walk, found in walks.items()} for form, walks in both.items()}
clear = sum(pair["low"] > 0 for pair in both["to the edge"]["momentum"]["against bim"].values())
more = {f"{kind}_{n}": 100 * (lost(f"{n} nets", at, kind, "to the edge") - lost("momentum", at, kind, "to the edge")) for kind in groups.values() for n in ("two", "four")}
records.say("**What we see.** As they are, momentum takes {low:.0f} to {high:.0f} percentage points more answers than BIM from each of the {targets} targets, with a perturbation of length {m:.2f} instead of {b:.2f}: of the pixels that moved, {emu:.0%} end at the edge of the budget instead of {e0:.0%} (measured on {few} images). "
            "At the edge (lengths {me:.2f} and {be:.2f}) {elow:.0f} to {ehigh:.0f} points are left, and the 95 % interval of the difference (over images) excludes zero for {clear} of the {targets}. Most of the advantage goes with the length. "
            "More networks are another matter. At the edge, all with momentum, four of them change the share of answers lost by {lenet_four:+.0f} points for LeNets, {fully_connected_four:+.0f} for fully connected networks, of which the one had none, and {mnist_resnet_four:+.0f} for the ResNet, which is like none of them; two of them by {lenet_two:+.0f}, {fully_connected_two:+.0f} and {mnist_resnet_two:+.0f} ({n} images, means over the targets, not compared image by image).",
            m=length["as it is"]["momentum"], b=length["as it is"]["bim"], me=length["to the edge"]["momentum"], be=length["to the edge"]["bim"],
            emu=edge[1.0], e0=edge[0.0], few=60, low=min(gains["as it is"]), high=max(gains["as it is"]), elow=min(gains["to the edge"]), ehigh=max(gains["to the edge"]),
            clear=clear, targets=len(journey["targets"]), n=journey["images"], **more,
            holds=max(gains["to the edge"]) < 0.5 * min(gains["as it is"]) and edge[1.0] > edge[0.0] and length["to the edge"]["momentum"] <= length["to the edge"]["bim"] and min(more[f"{kind}_four"] for kind in groups.values()) > 0)

# %% [markdown]
# ## Ask for scores
#
# *The attacker sees the logits of any image that he sends.* Then the gradient is not hidden at all. Nudge one pixel, $e_i$, up and down by $h$, and look how the score $s$, here the {term}`margin`, changes:
#
# $$
# \frac{\partial s}{\partial x_i} \;\approx\; \frac{s(x + h\, e_i) - s(x - h\, e_i)}{2h} .
# $$
#
# These are **finite differences**; ZOO attacks with them {cite}`chen2017`. In code, for all pixels at once. The nudged images stay in $[0, 1]$, as a service would demand; a black pixel can only go up, so the code divides by the width that is left:

# %%
@torch.no_grad()
def slopes(score, x, h=0.01):
    """The gradient of score at one image (1, C, H, W), from answers alone."""
    nudge = h * torch.eye(x.numel()).view(-1, *x.shape[1:])  # image i: only pixel i
    up, down = (x + nudge).clamp(0, 1), (x - nudge).clamp(0, 1)
    rise = score(up) - score(down)
    return (rise / (up - down).flatten(1).sum(1)).view(x.shape)


score = lambda images: margin(lenet(images), y[:1].expand(len(images)))
with evaluation.passes(lenet) as work:
    estimate = slopes(score, x[:1])
print(f"{work.forward:,} queries, {work.backward} gradients")

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three pictures: a digit, the gradient of the margin, and its estimate by finite differences. The two gradients look the same."}, "figure": {"caption": "A digit, the gradient of the margin as automatic differentiation gives it, and the same from queries alone.", "name": "fig-differences"}}
point = x[:1].clone().requires_grad_()
true = torch.autograd.grad(score(point).sum(), point)[0]
most = true.abs().max().item()
plots.grid([plots.image(x[0], f"a {mnist.classes[y[0]]}"), plots.noise(true[0], "with weights", limit=most), plots.noise(estimate[0].clamp(-most, most), "with queries", limit=most)], columns=3, source=mnist.source)

# %% tags=["remove-input"]
moves = true != 0
cosine = {h: torch.cosine_similarity(true.flatten(), slopes(score, x[:1], h).flatten(), 0).item() for h in (0.1, 0.01, 0.001)}
records.say("The angle between the two has cosine {cosine:.3f}, and they agree in the sign of {signs:.1%} of the pixels that matter at all. The width $h$ decides: with a nudge of {wide} the cosine is {worse:.3f}, with {narrow} it is {better:.3f}. A wide nudge leaves the piece of the network in which the gradient was taken; a very narrow one would drown in the rounding of the logits.",
            cosine=cosine[0.01], signs=(true.sign() == estimate.sign())[moves].float().mean().item(), wide=0.1, worse=cosine[0.1], narrow=0.001, better=cosine[0.001],
            holds=cosine[0.001] > cosine[0.01] > cosine[0.1] and cosine[0.01] > 0.9)

# %% [markdown]
# Two queries for every value of the image (one and the image itself, when nudging up only), and that for *one* gradient; a walk needs a new one at each step. Two ways to pay less:
#
# - **Random directions.** Nudge all pixels at once in a random direction $u$, take the slope along it, and average over some dozens of directions. It is a rough gradient for a small price, known from NES {cite}`ilyas2018`.
# - **No gradient.** **Square Attack** {cite}`andriushchenko2020` searches at random. It sets a whole square of pixels to plus or minus the full budget, asks, and keeps the change when the margin has grown. The squares shrink as it goes on.

# %% tags=["hide-input"]
def search(model, x, y, **settings):
    """The best point so far after each query of a Square Attack on one image, and its margin."""
    points, values = [], []
    hook = model.register_forward_hook(lambda _, inputs, logits: points.append(inputs[0][0].clone()) or values.append(margin(logits, y).item()))
    attacks.square(model, x, y, **settings)
    hook.remove()
    best = [0]
    for k in range(1, len(values)):
        best.append(k if k == 1 or values[k] > values[best[-1]] else best[-1])  # the first point replaces the image
    return torch.stack([points[k] for k in best]), [values[k] for k in best]


hard = margin(evaluation.logits(lenet, x[:40]), y[:40]).argsort()[20:21]  # neither a sure image nor an unsure one
trail, heights = search(lenet, x[hard], y[hard], eps=0.2, queries=600, generator=torch.Generator().manual_seed(0))
stops = sorted({min(k, len(trail) - 1) for k in (0, 1, 2, 3, 5, 8, 12, 20, 30, 45, 70, 100, 150, 250, 600)})


def draw_search(queries):
    probabilities = evaluation.logits(lenet, trail[queries][None]).softmax(1)[0]
    says = f"says {mnist.classes[probabilities.argmax()]} ({probabilities.max():.0%})"
    return plots.grid([plots.image(trail[queries], says, frame=bool(heights[queries] <= 0)), plots.noise(trail[queries] - x[hard][0], f"margin {heights[queries]:.1f}", limit=0.2)], columns=2, source=mnist.source)


def say_search(queries):
    return f"After {queries} queries the margin is {heights[queries]:.1f}. The noise is made of stripes and squares."

# %% tags=["remove-input"]
widgets.explore(draw_search, alt=say_search, queries=stops,
                caption="Square Attack on LeNet at eps = 0.2: the best image after some queries (green frame: still right; dashed orange: fooled), and its noise. It starts with stripes and goes on with squares. When the margin is above zero the network is fooled, and the search ends.")

# %% tags=["remove-input"]
widgets.predict(
    "LeNet at eps = 0.1: which of the three fools half of the images with the fewest queries?",
    {"Finite differences: they have the true gradient": "They have it, but their first step alone costs more than Square needs for half of the images.",
     "Random directions": "A rough gradient is cheap, but with some dozens of directions for 784 pixels it is mostly noise.",
     "Square Attack": "It moves whole squares by the whole budget, and every query tries a move."},
    answer="Square Attack")

# %% tags=["hide-input", "covered"] mystnb={"image": {"alt": "Two panels, LeNet and the fully connected network: share of images fooled against queries on a logarithmic axis. Square Attack rises first, random directions later, finite differences in steps of more than a thousand queries. A dashed line marks white-box PGD."}, "figure": {"caption": "Share of images fooled against the queries asked for each. Dashed: PGD with forty steps, which has the gradient. The budgets stand above the panels.", "name": "fig-queries"}}
bill = records.read("06-queries")["values"]
axes = plots.axes(2, height=3.2, sharey=True)
for ax, net in zip(axes, ("lenet", "fully_connected")):
    found = bill["nets"][net]
    for attack, look in zip(("square", "random directions", "finite differences"), (plots.LOOKS["square"], *plots.OTHERS)):
        asked, standing = zip(*found[attack]["standing"])
        ax.step([max(q, 1) for q in asked], [1 - n / bill["images"] for n in standing], where="post", color=look.colour, linestyle=look.line, label=look.label if attack == "square" else attack)
    ax.axhline(found["white box"]["fooled"]["value"], color=plots.INK, linestyle="--", linewidth=1)
    ax.set(xscale="log", title=f"{plots.label(net)}, eps = {bill['eps'][net]}", xlabel="queries for each image", ylabel="fooled", ylim=(0, 1.02))
    plots.percent(ax)
axes[1].legend(loc="upper left")
plots.finish(axes, records.read("06-queries")["provenance"]["source"])

# %% tags=["remove-input", "covered"]
def queries_for_half(net, attack):
    """After how many queries half of the images are fooled; None where that never happens."""
    return next((asked for asked, standing in bill["nets"][net][attack]["standing"] if standing <= bill["images"] / 2), None)


attackers = ("square", "random directions", "finite differences")
half = {net: {attack: queries_for_half(net, attack) for attack in attackers} for net in ("lenet", "fully_connected")}
told = {net: {attack: f"{asked:,}" if asked else "never (within its queries)" for attack, asked in by.items()} for net, by in half.items()}
ends = {net: {attack: found["fooled"]["value"] for attack, found in bill["nets"][net].items()} for net in half}
records.say("**What we see.** Square has fooled half of LeNet's {n} images after {square} queries each, finite differences after {full}; random directions, which we did not tune, never within their {most:,}. "
            "In the end Square fools {sq:.0%} of LeNet's images and {sq_f:.0%} of the other's, random directions {rand:.0%} and {rand_f:.0%}. "
            "Ten steps along finite differences end where ten steps along the true gradient end: {fd:.0%} and {true:.0%} on LeNet, {fd_f:.0%} and {true_f:.0%} on the other. On these images the estimate did as well as the gradient. It costs more.",
            n=bill["images"], square=told["lenet"]["square"], full=told["lenet"]["finite differences"], most=bill["nets"]["lenet"]["random directions"]["standing"][-1][0],
            sq=ends["lenet"]["square"], sq_f=ends["fully_connected"]["square"], rand=ends["lenet"]["random directions"], rand_f=ends["fully_connected"]["random directions"],
            fd=ends["lenet"]["finite differences"], true=ends["lenet"]["true gradient"], fd_f=ends["fully_connected"]["finite differences"], true_f=ends["fully_connected"]["true gradient"],
            holds=10 * half["lenet"]["square"] < half["lenet"]["finite differences"] and half["lenet"]["square"] < 2 * 784 and half["lenet"]["random directions"] is None
            and all(abs(end["finite differences"] - end["true gradient"]) < 0.03 and end["square"] > end["finite differences"] for end in ends.values()))

# %% tags=["remove-input", "covered"]
records.quote("06-queries")

# %% tags=["remove-input", "covered"]
by = bill["nets"]["lenet"]
records.say("Is it the gradient, then, that brings black boxes down? {{cite}}`unam2021` (section 1) gives the ease of approximating it as the reason. Scores do give it away: on {n} images finite differences bring down {fd} of LeNet's answers, the true gradient {true}. "
            "It is not the only way: Square estimates no gradient and brings down {sq}. HopSkipJump, next, estimates one from labels. A test of the reason would compare tuned estimators with searches, on several trainings.",
            n=bill["images"], **{short_name: round(by[attack]["fooled"]["value"] * bill["images"]) for short_name, attack in (("fd", "finite differences"), ("true", "true gradient"), ("sq", "square"))})

# %% [markdown]
# ## Only the answer
#
# *The attacker sees which class wins, and nothing else.* Now finite differences give zero: a nudge seldom changes the answer, and never says how much. The landscape has become a terrace with one cliff. But a cliff can be found, and walked along.
#
# The **Boundary Attack** {cite}`brendel2018` walked along it at random. **HopSkipJump** {cite}`chen2020` feels its way: it starts from any image that is already misclassified, far away, and repeats three moves:
#
# 1. **To the boundary.** On the line between the point and the clean image, find the cliff by halving the interval.
# 2. **Feel the slope.** Ask about $B$ points around, $x_t + \delta u_b$, at a small distance $\delta$ in random directions $u_b$ of length 1. With $\phi_b = 1$ where the answer is wrong and $-1$ where it is right, and their mean $\bar\phi$, the vector
#
# $$
# v \;=\; \frac1B \sum_{b=1}^{B} \bigl(\phi_b - \bar\phi\bigr)\, u_b
# $$
#
# points away from the cliff, into the wrong class.
#
# 3. **Jump.** Go along $v$, halving the jump until it lands among wrong answers. Then again from 1.
#
# An image of two pixels shows all of it.

# %% tags=["remove-input"]
class Shore(torch.nn.Module):
    """A network for images of two pixels (N, 1, 1, 2): class 1 outside a wavy line around the corner (0.2, 0.25)."""

    def forward(self, image):
        a, b = image.flatten(1).T - torch.tensor([[0.2], [0.25]])
        height = (a ** 2 + b ** 2).sqrt() - 0.42 - 0.12 * torch.sin(4 * torch.atan2(b, a) - 1.2)
        return torch.stack([-height, height], 1)


def listen(model, *images, **settings):
    """Every call of HopSkipJump: the images it asks about, and whether each is misclassified."""
    calls = []
    hook = model.register_forward_hook(lambda _, inputs, logits: calls.append((inputs[0].flatten(1), logits.argmax(1) == 1)))
    attacks.hop_skip_jump(model, *images, **settings)
    hook.remove()
    return calls[1:]  # the first one looks at the clean image


shore, home, far_off = Shore(), torch.tensor([[[[0.3, 0.2]]]]), torch.tensor([[[[0.95, 0.9]]]])
calls = listen(shore, home, torch.tensor([0]), starts=far_off, queries=700, generator=torch.Generator().manual_seed(3))
probes = [k for k, (points, _) in enumerate(calls) if len(points) > 1] + [len(calls)]
stages = [("start", 0, 1), ("to the boundary", 1, 11)]  # ten halvings of the interval
for k, after in zip(probes, probes[1:]):
    stages += [("probes", k, k + 1), ("jump", k + 1, after - 10), ("to the boundary", after - 10, after)]
stages = [stage for stage in stages[:11] if stage[2] > stage[1]]
asked = [sum(len(points) for points, _ in calls[:last]) for _, _, last in stages]


def stand(stage):
    """The nearest misclassified point so far, and the path of such points."""
    path = []
    for _, first, last in stages[:stage + 1]:
        points, wrong = (torch.cat(part) for part in zip(*calls[first:last]))
        if last - first > 1 or len(points) == 1:
            path += [points[wrong][-1]] if wrong.any() else []
    return torch.stack(path)


def draw_shore(queries):
    stage = asked.index(queries)
    what, first, last = stages[stage]
    points, wrong = (torch.cat(part) for part in zip(*calls[first:last]))
    path, grid = stand(stage), torch.meshgrid(torch.linspace(0, 1, 41), torch.linspace(0, 1, 41), indexing="xy")
    ax = plots.axes(height=4.2)
    ax.contour(*grid, shore(torch.stack(grid, -1).view(-1, 1, 1, 2))[:, 1].view(41, 41), levels=[0], colors=plots.INK, linewidths=1.2)
    centre, nearest = home.flatten().tolist(), (path - home.flatten()).norm(dim=1).min().item()
    ax.add_patch(Circle(centre, nearest, fill=False, linestyle=":", edgecolor=plots.GREY))
    for mask, marker, colour, name in ((wrong, "x", plots.WRONG, "wrong answer"), (~wrong, ".", plots.RIGHT, "right answer")):
        ax.plot(*points[mask].T, marker, color=colour, markersize=4, label=name)
    ax.plot(*path.T, "o-", color=plots.colour("pgd"), markersize=4, linewidth=1.2, label="path")
    ax.plot(*centre, "o", color=plots.INK, markersize=8, label="clean image")
    ax.set(xlim=(0, 1), ylim=(0, 1.3), yticks=[0, 0.5, 1], aspect="equal", xlabel="pixel 1", ylabel="pixel 2", title=f"{what}: distance {nearest:.2f}")
    ax.grid(False)
    ax.legend(loc="upper center", ncols=2, columnspacing=1, handletextpad=0.4)
    return plots.finish(ax)


def say_shore(queries):
    stage = asked.index(queries)
    nearest = (stand(stage) - home.flatten()).norm(dim=1).min()
    return f"After {queries} queries, at the move {stages[stage][0]}, the nearest wrong answer is {nearest:.2f} from the clean image."


widgets.explore(draw_shore, alt=say_shore, queries=asked,
                caption="HopSkipJump on an image of two pixels. Crosses and dots: what was asked in this move, and the answers. The black line is the boundary, which the attacker does not see. Dotted circle: the distance so far.")

# %% [markdown]
# How well does it feel the slope? Here is the second move on LeNet, at a point on the boundary of a digit, with the radius that the attack itself takes there (the distance divided by 784), and with more and more probes:

# %%
@torch.no_grad()
def feel(wrong, point, probes, radius, generator):
    """The direction into the wrong class, from yes-or-no answers alone."""
    u = torch.randn(probes, *point.shape[1:], generator=generator)
    u = radius * u / u.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    around = (point + u).clamp(0, 1)
    phi = torch.where(wrong(around), 1.0, -1.0).view(-1, 1, 1, 1)
    return ((phi - phi.mean()) * (around - point)).mean(0, keepdim=True)


seed = torch.Generator().manual_seed(0)
edge = attacks.hop_skip_jump(lenet, x[:1], y[:1], queries=500, generator=seed)
wrong = lambda images: lenet(images).argmax(1) != y[0]
radius = (edge - x[:1]).norm().item() / 784
felt = {n: feel(wrong, edge, n, radius, seed) for n in (50, 200, 1000, 4000)}

# %% tags=["hide-input"]
inside = attacks.decision
walk = inside._Walk(torch.arange(1), x[:1], y[:1], edge, torch.zeros(1, dtype=torch.int64))
with torch.no_grad():
    theirs = inside._normal(lambda images, labels: lenet(images).argmax(1) != labels, walk, "l2", torch.tensor([radius]), 200, 500, torch.Generator().manual_seed(1))
mine = feel(wrong, edge, 200, radius, torch.Generator().manual_seed(1))
print("the function above and the library feel the same direction:", torch.allclose(theirs, mine / mine.norm(), atol=1e-4))

# %% tags=["remove-input"]
point = edge.clone().requires_grad_()
normal = torch.autograd.grad(score(point).sum(), point)[0].flatten()
angle = {n: torch.cosine_similarity(normal, v.flatten(), 0).item() for n, v in felt.items()}
records.say("The cosine of the angle to the true gradient of the margin is " + ", ".join("{c%d:.2f} after {n%d:,} probes" % (n, n) for n in felt) + " (radius {radius:.4f}). A random direction would have one of size about {chance:.2f}, with either sign. Here even fifty probes point out of the right class rather than into it, and a jump that goes wrong is halved.",
            **{f"c{n}": c for n, c in angle.items()}, **{f"n{n}": n for n in angle}, radius=radius, chance=normal.numel() ** -0.5, holds=angle[4000] > angle[50] > normal.numel() ** -0.5)

# %% [markdown]
# Now on digits. Each starts from a random image that LeNet takes for another class (up to a hundred are tried).

# %% tags=["remove-input"]
spent = [20, 100, 200, 350, 500, 750, 1000]
nearer = {q: attacks.hop_skip_jump(lenet, x[:3], y[:3], queries=q, generator=torch.Generator().manual_seed(0)) for q in spent}


def draw_walk(queries):
    found = nearer[queries]
    says = evaluation.logits(lenet, found).argmax(1)
    lengths = geometry.norm(found - x[:3], "l2")
    return plots.grid([plots.image(found[i], f"says {mnist.classes[says[i]]}\nlength {lengths[i]:.1f}", frame=bool(says[i] == y[i])) for i in range(3)], columns=3, source=mnist.source)


def say_walk(queries):
    lengths = geometry.norm(nearer[queries] - x[:3], "l2").tolist()
    return f"After {queries} queries three digits are misclassified at distances " + ", ".join(f"{size:.1f}" for size in lengths) + "."


widgets.explore(draw_walk, alt=say_walk, queries=spent,
                caption="HopSkipJump on three digits: the nearest misclassified image found after so many queries each. Dashed orange frame: LeNet's answer is wrong. The digit appears out of the noise; the answer stays wrong.")

# %% tags=["remove-input", "hide-output"]
records.listing(attacks.hop_skip_jump)

# %% tags=["hide-input"] mystnb={"image": {"alt": "The median distance found by HopSkipJump against queries on a logarithmic axis. It falls steadily towards the dashed line of the white-box attack DDN."}, "figure": {"caption": "How near HopSkipJump comes: median distance (l2 norm), and the middle half of the images as a band. Dashed: DDN (chapter 05), which has the gradient.", "name": "fig-labels"}}
labelled = records.read("06-labels")["values"]
quartiles = torch.tensor([torch.tensor(labelled["l2"][str(q)]).quantile(torch.tensor([0.25, 0.5, 0.75])).tolist() for q in labelled["queries"]])
floor = torch.tensor(labelled["white box"]).quantile(0.5).item()
ax = plots.axes(height=3.0)
ax.fill_between(labelled["queries"], quartiles[:, 0], quartiles[:, 2], color=plots.colour("hop_skip_jump"), alpha=0.18, linewidth=0)
ax.plot(labelled["queries"], quartiles[:, 1], color=plots.colour("hop_skip_jump"), marker=plots.LOOKS["hop_skip_jump"].marker, label="HopSkipJump")
ax.axhline(floor, color=plots.INK, linestyle="--", linewidth=1, label="DDN (white box)")
ax.set(xscale="log", xlabel="queries for each image", ylabel="distance (l2 norm)", ylim=(0, None))
ax.legend()
plots.finish(ax, records.read("06-labels")["provenance"]["source"])

# %% tags=["remove-input"]
reached = dict(zip(labelled["queries"], quartiles[:, 1].tolist()))
last = labelled["queries"][-1]
records.say("The median over {n} images is {first:.2f} after {few} queries, {mid:.2f} after {some:,} and {end:.2f} after {last:,}; with the gradient DDN finds {floor:.2f}. Image by image, the attacker who sees labels alone ends {ratio:.2f} times as far out as DDN (median of the ratios), and his median was still falling.",
            n=labelled["images"], few=labelled["queries"][0], first=reached[100], some=1000, mid=reached[1000], end=reached[last], last=last, floor=floor, ratio=(torch.tensor(labelled["l2"][str(last)]) / torch.tensor(labelled["white box"])).quantile(0.5).item(),
            holds=bool(reached[last] < reached[labelled["queries"][-2]] < reached[100]) and min(min(v) for v in labelled["l2"].values()) >= 0)

# %% tags=["remove-input"]
records.quote("06-labels")

# %% [markdown]
# ## One pixel
#
# *The attacker sees scores, and may change one pixel only*, as much as he likes. {cite}`belaustegui2022` names this case in its introduction. The attack behind it {cite}`su2019` searches by **differential evolution**: a population of (place, value) pairs, where each child is one pair plus half the difference of two others, and the fitter survives.
#
# On a grey image of 28 by 28 pixels no evolution is needed. There are 784 places; for each of a few values we can ask about *all* of them.

# %%
def every_pixel(model, x, y, value):
    """The margin with each pixel of one image set to value, (H, W)."""
    height, width = x.shape[2:]
    images = x.repeat(height * width, 1, 1, 1)
    images.flatten(2)[torch.arange(len(images)), :, torch.arange(len(images))] = value
    logits = evaluation.logits(model, images)
    return margin(logits, y.expand(len(images))).view(height, width)

# %% tags=["hide-input"]
crowd = mnist[:2000][evaluation.classified_right(lenet, mnist[:2000])]
unsure = crowd[margin(evaluation.logits(lenet, crowd.images), crowd.labels).argsort(descending=True)[:12]]  # LeNet's weakest right answers
falls = evaluation.evaluate(lenet, unsure, attacks.one_pixel_exhaustive(lenet, unsure.images, unsure.labels)).success
chosen = unsure[falls][-1:]  # of those that fall, the one of which LeNet was surest
before = margin(evaluation.logits(lenet, chosen.images), chosen.labels).item()
values = [0.0, 0.25, 0.5, 0.75, 1.0]
maps = {value: every_pixel(lenet, chosen.images, chosen.labels, value) for value in values}


def draw_map(value):
    way = (maps[value] - before) / -before  # 1: all the way to the boundary
    place = divmod(maps[value].argmax().item(), 28)
    best = chosen.images[0].clone()
    best[:, place[0], place[1]] = value
    says = evaluation.logits(lenet, best[None]).argmax(1).item()
    return plots.grid([plots.image(chosen.images[0], f"a {mnist.classes[chosen.labels[0]]}"), plots.noise(way[None], "way to the boundary", limit=1.0),
                       plots.image(best, f"best pixel: says {mnist.classes[says]}", frame=says == chosen.labels[0].item())], columns=3, source=mnist.source)


def say_map(value):
    return f"With one pixel set to {value}, {int((maps[value] > 0).sum())} of the 784 places flip the digit."

# %% tags=["remove-input"]
widgets.explore(draw_map, alt=say_map, value=values,
                caption="What one pixel can do. For each place, how far setting this pixel to the value moves the margin: at the strongest orange all the way to the boundary or beyond (the digit flips), blue away from it. The scale is a share of the way. Last: the best place (green frame: still right; dashed orange: fooled).")

# %% tags=["remove-input"]
flips = torch.stack(list(maps.values())) > 0
records.say("For this digit, one of LeNet's least sure right answers, {flips} of the {all:,} pairs of place and value flip the answer, at {places} different places.",
            flips=int(flips.sum()), all=flips.numel(), places=int(flips.any(0).sum()), holds=bool(flips.any()))

# %% [markdown]
# The map is complete for these values, so it can judge the search at random. Differential evolution, for the same digit:

# %%
with evaluation.passes(lenet) as work:
    evolved = attacks.one_pixel(lenet, chosen.images, chosen.labels, population=100,
                                generations=38, generator=torch.Generator().manual_seed(0))
found = evaluation.evaluate(lenet, chosen, evolved)
(row, column), = (evolved != chosen.images)[0, 0].nonzero().tolist() or [(None, None)]
print(f"fooled: {found.success.item()}, queries: {work.forward:,}, pixel {row}, {column}")

# %% tags=["remove-input"]
widgets.predict(
    "Six networks, and all their digits that some single pixel flips. How many of these does evolution miss with a tenth of the queries, 400 instead of 3,900?",
    {"Fewer than a quarter": "It sees few of the places, but it does not look blindly: the fitter pairs survive and have children.",
     "About half": "It asks about a tenth of the pairs of place and value. But from the second generation on they are no longer spread at random.",
     "Nearly all": "That would be so if one pair alone flipped the digit, and the margin gave no hint of it."},
    answer="Fewer than a quarter")

# %% tags=["remove-input", "covered"]
pixel = records.read("06-one-pixel")["values"]
lines = [f"| fallen of {pixel['images']} | all places | evolution | small |", "|---|---|---|---|"]
lines += [f"| {'FC ' + net[-1] if '/' in net else 'LeNet'} | " + " | ".join(f"{found[search]['value'] * pixel['images']:.0f}" for search in ("exhaustive", "evolution", "small evolution")) + " |" for net, found in pixel["fooled"].items()]
lines += ["| *queries an image* | " + " | ".join(f"{pixel['queries'][search]:,}" for search in ("exhaustive", "evolution", "small evolution")) + " |"]
Markdown("\n".join(lines))

# %% tags=["remove-input", "covered"]
fallen = pixel["fooled"]
missed = {search: sum(by_search[search]["only_a"] for by_search in pixel["paired"].values()) for search in ("evolution", "small evolution")}
extra = {search: sum(by_search[search]["only_b"] for by_search in pixel["paired"].values()) for search in ("evolution", "small evolution")}
falls = sum(round(found["exhaustive"]["value"] * pixel["images"]) for found in fallen.values())
records.say("**What we see.** Of {n} digits that it gets right, LeNet loses {lenet:.1%} to one pixel (95 % interval over images: {low:.1%} to {high:.1%}), the five fully connected networks (FC) {least:.1%} to {most:.1%}; every place was tried with five values. "
            "Over the six networks {falls} digits fall to the complete search: evolution misses {missed} of these and finds {extra} others; the small evolution misses {small}. "
            "Where evolution failed, no pixel at these five values would have done. That rests on few falls, and can be said only because all places were tried.",
            n=pixel["images"], lenet=fallen["lenet"]["exhaustive"]["value"], low=fallen["lenet"]["exhaustive"]["low"], high=fallen["lenet"]["exhaustive"]["high"],
            least=min(found["exhaustive"]["value"] for net, found in fallen.items() if net != "lenet"), most=max(found["exhaustive"]["value"] for net, found in fallen.items() if net != "lenet"),
            falls=falls, missed=missed["evolution"], extra=extra["evolution"], small=missed["small evolution"],
            holds=missed["evolution"] == 0 and missed["small evolution"] < 0.25 * falls and missed["small evolution"] > missed["evolution"] and fallen["lenet"]["exhaustive"]["high"] < 0.1)

# %% tags=["remove-input", "covered"]
records.quote("06-one-pixel")

# %% [markdown]
# ## The bill
#
# All attackers at one table: what each sees of the network, how much he asks at most for an image, and how many of the images he fools. The budget of a column is the same (eps = 0.1 for LeNet and BP, eps = 0.05 for FC, the fully connected network); the queries differ. *Naive* is PGD along the naive cross-entropy, PyTorch's own. *Same kind* is one other training of the network, *other kinds* an ensemble of two others. Blank: not run.

# %% tags=["remove-input"]
rows = {"white box": ("PGD", "all", "0"), "white box, naive": ("naive PGD", "all", "0"),
        "finite differences": ("finite differences", "scores", None), "random directions": ("random directions", "scores", None), "square": ("Square", "scores", None),
        "hop_skip_jump": ("HopSkipJump", "label", None), "same kind": ("transfer, same kind", "nothing", "0"), "transfer": ("transfer, other kinds", "nothing", "0")}
nets = {"lenet": "LeNet", "fully_connected": "FC", "hebbian_bp": "BP"}
lines = ["| attack (sees) | asks | " + " | ".join(nets.values()) + " |", "|---|---|" + "---|" * len(nets)]
for attack, (name, sees, asks) in rows.items():
    cells = [f"{bill['nets'][net][attack]['fooled']['value'] * bill['images']:.0f}" if attack in bill["nets"][net] else "" for net in nets]
    most = max(bill["nets"][net][attack]["standing"][-1][0] for net in nets if attack in bill["nets"][net])
    lines.append(f"| {name} ({sees}) | {asks or f'{most:,}'} | " + " | ".join(cells) + " |")
Markdown("\n".join(lines))

# %% tags=["remove-input"]
at = lambda net, attack: bill["nets"][net][attack]["fooled"]["value"]
counts = lambda attack: "{}, {} and {}".format(*(round(at(net, attack) * bill["images"]) for net in nets))
sisters = [share(source, "lenet/0") for source in kinds["lenet"] if source != "lenet/0"]
records.say("Of {n} images, all classified right, the same for all attackers of a network; PGD is one walk of forty steps along the margin, not the strongest attack. "
            "Square, which sees scores, fools {sq} of the three networks' images, in the order of the table; that PGD, which sees everything, {pgd}. Transfer asks nothing, and at these budgets gets little: {transfer} from networks of other kinds. "
            "(*Same kind* is one surrogate, and for LeNet a weak one: in the table of thirteen networks the four others of its kind take {low:.0%} to {high:.0%} of its answers.) "
            "And look at BP: the walk along the naive cross-entropy fools {naive} of {n}, because its gradient is zero (chapter 04), while borrowed examples fool {lent} and Square {square}. When a search without gradients finds far more than a walk along one, suspect the gradient.",
            n=bill["images"], sq=counts("square"), pgd=counts("white box"), naive=round(at("hebbian_bp", "white box, naive") * bill["images"]),
            lent=round(at("hebbian_bp", "transfer") * bill["images"]), square=round(at("hebbian_bp", "square") * bill["images"]), transfer=counts("transfer"), low=min(sisters), high=max(sisters),
            holds=at("hebbian_bp", "square") > at("hebbian_bp", "transfer") > at("hebbian_bp", "white box, naive") and share("lenet/1", "lenet/0") < mean(sisters)
            and all(at(net, "transfer") < min(at(net, "square"), at(net, "white box")) for net in nets))

# %% tags=["remove-input"]
records.quote("06-queries")

# %% [markdown]
# ## What was shown

# %% tags=["remove-input"]
records.say("On undefended networks for MNIST, hiding the gradient while showing scores hides little: they give it away pixel by pixel, and a random search does without it. Showing only labels makes attacks much dearer: with {queries:,} queries an image, HopSkipJump fools {hsj} of {n} images of the three networks, where PGD fools {pgd}. It does not stop them. "
            "Borrowed gradients cost no query at all; how far they carry depends on both networks, and on the budget.",
            queries=bill["queries"], hsj=counts("hop_skip_jump"), pgd=counts("white box"), n=bill["images"],
            holds=all(0 < at(net, "hop_skip_jump") < 0.6 * at(net, "white box") and at(net, "square") > 0.9 * at(net, "white box") for net in nets))

# %% [markdown]
# These are lower bounds on what such attackers can do: another search may need fewer queries, another surrogate may come closer. The numbers are about digits, a few dozen to a few hundred of them, at budgets that one can see. Not tested here: colour images, networks trained against attacks, services that round their scores, add noise or count their visitors. And {cite}`belaustegui2022` says it well for all attacks of this book (section 3.1.2): that every known method fails is necessary for robustness, and not sufficient.

# %% tags=["remove-input"]
records.claims([
    {"claim": "Black-box attacks are quite successful because it is easy to approximate the gradient from inputs and outputs alone.", "source": "unam2021", "where": "section 1", "reported": "stated as the reason, without a measurement",
     "measured": f"LeNet, {bill['images']} images, eps = {bill['eps']['lenet']}: finite differences {by['finite differences']['fooled']['value']:.0%}, true gradient {by['true gradient']['fooled']['value']:.0%}, Square {by['square']['fooled']['value']:.0%}; a test would compare tuned estimators with searches, on several trainings", "verdict": "not tested here"},
    {"claim": "A carefully chosen change of a single pixel can lead a network from one class to another, with high confidence in both.", "source": "belaustegui2022", "where": "introduction", "reported": "a deer becomes an aeroplane",
     "measured": f"grey digits: LeNet loses {fallen['lenet']['exhaustive']['value']:.1%} of {pixel['images']} right answers to one pixel; a test would take photographs, and look at the confidence", "verdict": "not tested here"},
    {"claim": "By hiding the gradient, the architecture by itself acts as a defence against attacks that use it directly; rescaling the logits breaks it.", "source": "belaustegui2022", "where": "section 3.2", "reported": "FGSM almost without effect; with the logits divided by 10^5 both networks fall below 10 %",
     "measured": f"BP, {bill['images']} images, eps = {bill['eps']['hebbian_bp']}: PGD along the naive cross-entropy fools {at('hebbian_bp', 'white box, naive'):.0%}, Square without any gradient {at('hebbian_bp', 'square'):.0%}; a test would run FGSM with and without the division (chapter 04 divides for PGD), on several trainings",
     "verdict": "not tested here"},
    {"claim": "On networks trained against one-step attacks, white-box attacks are weaker than black-box attacks (as we read it).", "source": "cutilli2021", "where": "section 3.1.7, retold from Tramèr and others (2018)", "reported": "as an observation",
     "measured": "a test would train networks against one step, and compare both kinds of attack on them", "verdict": "not tested here"},
    {"claim": "With larger noise, images made on one part of the training data fool networks of the same part more than others do (as we read it).", "source": "cutilli2021", "where": "section 3.1.1", "reported": "retold from Szegedy and others (2014)",
     "measured": "all networks here were trained on the same images; a test would train some on each half", "verdict": "not tested here"},
])

# %% [markdown]
# ## Exercises
#
# 1. **By hand.** Slopes from nine answers of a closed box, one-sided and central, and what they cost.
# 2. **Code.** A search for the boundary that is told nothing but classes.
# 3. **Measure.** Do images cross more easily from LeNet to the fully connected network, or back? Two attacks, one Euclidean budget.
# 4. **Break it.** No single pixel fools this digit. Take two.
# 5. **Think.** A service that counts its visitors' queries: whom does it stop?
#
# [Exercises for this chapter](../exercises/student/06_without_gradients.ipynb)
#
# ## Take-away
#
# - Say what the attacker sees: weights, scores, labels or nothing. That decides which attacks are possible.
# - Examples carry from one network to another, unevenly, and not alike in both directions. Compare attacks at equal length, not only at equal $\varepsilon$: most of what momentum gained here went with the length.
# - Scores hold the gradient: two queries a pixel. A random search got as far here with far fewer queries.
# - Labels are enough to find the boundary, feel its slope and walk along it.
# - One pixel of a digit can be searched completely, and then a failure means something.
# - When a search without gradients fools far more than a walk along one, suspect a hidden gradient.
#
# ## Where the numbers come from
#
# Sentences and figures without a provenance line are computed live, on the data named under each figure. The records `06-transfer`, `06-smallest`, `06-travel`, `06-queries`, `06-labels` and `06-one-pixel` are always about real data; `advlens record 06-transfer` measures the first again, and likewise the others. The networks are the course's checkpoints, whose cards tell how they were trained; other trainings of them are made by the same recipes.
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
