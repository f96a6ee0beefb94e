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
# # Honest evaluation: a network that cannot be attacked
#
# Two networks read the same digits, and both get all of these right. Forty steps of PGD attack each of them, along its own gradient. Move epsilon and watch the share of images that stay right: one network falls, the other hardly notices. **Would you trust the second one? What would you ask first?**

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
import textwrap
import warnings
from functools import partial

from IPython.display import Markdown

from advlens import audit, layers
from advlens.attacks.losses import cross_entropy, log_odds
from advlens.course.planes import logits_on_plane
from advlens.defences import masking
from advlens.inputs import image_gradient

mnist = data.load("mnist", "test", fallback="digits")
lenet = zoo.pretrained("lenet", mnist.name)
second = masking.Rounded(lenet, 16)
right = evaluation.classified_right(lenet, mnist[:150]) & evaluation.classified_right(second, mnist[:150])
some = mnist[:150][right][:100]  # images that both networks classify right
x, y = some.images, some.labels
seeded = lambda seed=0: torch.Generator().manual_seed(seed)
quiet = warnings.catch_warnings
narrow = lambda text: "\n".join(textwrap.fill(line, 80, subsequent_indent="     ") for line in str(text).splitlines())


def strike(model, eps, loss="ce", attack=attacks.pgd, **more):
    """What an attack returns for the live images; the library's warning of zero gradients is this chapter's subject."""
    with quiet():
        warnings.simplefilter("ignore", geometry.ZeroGradientWarning)
        return attack(model, x, y, eps=eps, loss=loss, generator=seeded(), **more)


BUDGETS = [0, 0.02, 0.05, 0.1, 0.15, 0.2]
DUEL = {"the first": lenet, "the second": second}
attacked = {name: {eps: strike(model, eps) if eps else x for eps in BUDGETS} for name, model in DUEL.items()}
answers = {name: {eps: evaluation.logits(DUEL[name], images).argmax(1) for eps, images in found.items()} for name, found in attacked.items()}


def duel(network, eps):
    said = answers[network][eps]
    stays = (said == y).float().mean().item()
    return plots.images(attacked[network][eps][:6], titles=[f"says {mnist.classes[k]}" for k in said[:6]], columns=6,
                        rows=[f"{stays:.0%}\nright"], frame=(said == y)[:6].tolist(), source=mnist.source)


def say_duel(network, eps):
    said = answers[network][eps]
    return (f"Six digits attacked at epsilon {eps}. {network.capitalize()} network says {', '.join(mnist.classes[k] for k in said[:6])}; "
            f"of {len(y)} images it gets {(said == y).float().mean():.0%} right.")


widgets.explore(duel, alt=say_duel, network=list(DUEL), eps=BUDGETS,
                caption="PGD with forty steps, aimed at the network that you choose. Green frame: the answer is right; dashed orange frame: it is wrong. The share is that of all the images attacked here.")

# %% [markdown]
# :::{admonition} At a glance
# :class: glance
# - **You will be able to** name four ways in which a network hides its gradient; break each of them; read an audit; say what each part of a strong attack adds; put a certificate under an attack; and work through a checklist before you believe a number.
# - **Time** 65 minutes of reading and playing.
# - **Threat model** {term}`white box`: the attacker knows the network *and its defence*. Untargeted, $\ell_\infty$ norm.
# - **Sources** {cite}`belaustegui2022` (gradients that vanish), {cite}`cutilli2021` (BPDA, EOT, loss surfaces). The ideas are from {cite}`athalye2018`, {cite}`carlini2019`, {cite}`croce2020` and {cite}`tramer2020adaptive`.
# :::
#
# ## The secret
#
# Before we look inside, one experiment. The attack on the second network failed. But we also have the images that fooled the *first* one. Nobody made them for the second.

# %% tags=["remove-input"]
widgets.predict(
    "At eps = 0.1 we take the images that were made to fool the first network and show them to the second. How does it do?",
    {"It withstands them too: it has just withstood an attack of its own": "That attack was aimed at it, and aimed badly. A failed attack says something about the attack first.",
     "It falls to nearly all of them": "The adversarial examples were there all the time. Its own gradient did not point to them.",
     "It falls to a few: examples sometimes carry over": "These two networks have more in common than you may think."},
    answer="It falls to nearly all of them")

# %% tags=["covered"]
fooled = lambda images: evaluation.evaluate(second, x, images, y).success
own = fooled(attacked["the second"][0.1])
borrowed = fooled(attacked["the first"][0.1])  # made for the other network

point = x.clone().requires_grad_()
gradient = image_gradient(log_odds(second(point), y), point)
dead = (gradient == 0).flatten(1).all(1)       # zero in every pixel

# %% tags=["remove-input", "covered"]
records.say("Of {n} images, the attack along its own gradient fools the second network on {own:.0%}, the images that were made for the first one on {borrowed:.0%}. "
            "And its gradient? It is exactly zero, in every pixel, for {dead:.0%} of the images.",
            n=len(y), own=own.float().mean(), borrowed=borrowed.float().mean(), dead=dead.float().mean(),
            holds=bool(borrowed.float().mean() > own.float().mean() + 0.3 and dead.all()))

# %% [markdown]
# :::{container} covered
# The second network *is* the first. Before it looks, it rounds each pixel to one of sixteen grey levels:
# :::

# %% tags=["remove-input", "covered"]
records.listing(masking.Rounded)

# %% [markdown]
# :::{container} covered
# A staircase is flat on each step, so its slope is zero. The attack looked for a way uphill and found none. It was blinded; at this budget the network was not made any safer.
# :::
#
# This is {term}`gradient masking`: the gradient says little about where the adversarial examples are. Whether they are gone is a separate question. {cite}`athalye2018` examined nine published defences, found hidden gradients in seven, and broke six of these completely and one in part.
#
# ## Four ways to hide a gradient
#
# | what is done | what happens to the gradient | how it is undone |
# |---|---|---|
# | the input is **rounded** | it is zero: *shattered* | a slope from elsewhere (BPDA) |
# | the input is **resized and noised at random** | it says something else at each call: *stochastic* | the mean of many draws (EOT) |
# | the **logits are huge**, by a factor or by training | it is lost in a subtraction, $p_y - 1$, then too small for 32 bits: *vanishing* | the same loss, written as log-odds |
# | the graph is **cut** (a codec, a server, `no_grad`) | there is none | connect it again, or use no gradient |
#
# The names *shattered*, *stochastic* and *vanishing* are those of {cite}`athalye2018`, which met the last one in very long computations; large logits were met in {cite}`carlini2017`. The defences stand in `advlens.defences.masking`.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two rows of six pictures. First in each row a clean digit, then the digit rounded to sixteen grey levels, with nearly the same pixels, then four versions of it, shrunken and shifted a little and covered with grey noise."}, "figure": {"caption": "What the network behind the defence sees. Rounded to sixteen levels: each pixel moves by half a level at most. Resized and noised: another picture at each call.", "name": "fig-defended-inputs"}}
draws = seeded(3)
rows = [[plots.image(one[0]), plots.image(masking.rounded(one, 16)[0])] + [plots.image(masking.shaken(one, draws)[0].clamp(0, 1)) for _ in range(4)]
        for one in (x[:1], x[1:2])]
plots.grid(rows, heads=["clean", "rounded", *["random"] * 4], source=mnist.source)

# %% [markdown]
# ### The stair and the ramp: BPDA
#
# Write $r$ for the rounding and $f$ for the network, so that the defended network is $f(r(x))$. By the chain rule
#
# $$
# \nabla_x \, \mathcal L\bigl(f(r(x))\bigr) \;=\; J_r(x)^{\top} \; \nabla \mathcal L\bigl(f(\cdot)\bigr)\big|_{r(x)},
# \qquad J_r(x) = 0 .
# $$
#
# The second factor is an honest gradient; the first one destroys it. But $r(x) \approx x$: the stair climbs along a ramp of slope one. So go *forward* through the stair and *backward* through the ramp, that is, put the identity in the place of $J_r$. This is the **backward pass differentiable approximation**, {term}`BPDA` {cite}`athalye2018`. For the gradient it takes three lines:

# %%
def straight_through(model, transform, x, y):
    """The gradient of the loss at the transformed image, as if the transformation were the identity."""
    seen = transform(x).detach().requires_grad_()
    loss = log_odds(model(seen), y).sum()
    return torch.autograd.grad(loss, seen)[0]

# %% [markdown]
# The library's `attacks.BPDA(model, forward, backward)` is a *model*, so every attack of the book takes it. Here it is beside our three lines:

# %% tags=["nbval-check-output"]
round16 = partial(masking.rounded, levels=16)
bpda = attacks.BPDA(lenet, round16)
book = image_gradient(log_odds(bpda(point), y), point)
print("three lines = library:", torch.allclose(straight_through(lenet, round16, x, y), book, atol=1e-6))

# %% tags=["remove-input"]
found = fooled(strike(bpda, 0.1))
records.say("PGD through the ramp fools the second network on {share:.0%} of the {n} images at eps = 0.1; along its own gradient it was {own:.0%}. What is judged is the network with its stair.",
            share=found.float().mean(), own=own.float().mean(), n=len(y), holds=bool(found.float().mean() > 0.5))

# %% [markdown]
# ### Many draws: EOT
#
# The second defence shrinks each image to a random size, puts it at a random place and adds noise, anew at each call. Its gradient is not zero. It is the gradient of *this* draw, and the next draw is another function. What the attacker wants to climb is the mean,
#
# $$
# \mathbb E_{t}\bigl[ f(t(x)) \bigr] \;\approx\; \frac1n \sum_{i=1}^{n} f(t_i(x)) .
# $$
#
# This is the **expectation over transformation**, {term}`EOT` {cite}`athalye2018robust`. Again it is a few lines, and `attacks.EOT(model, transform, samples)` is a model:.

# %%
def mean_over_draws(model, transform, x, samples, seed=0):
    """The mean logits over random transformations; the seed makes it the same function at each call."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [model(transform(x, generator)) for _ in range(samples)]
    return torch.stack(drawn).mean(0)


ours = mean_over_draws(lenet, masking.shaken, x[:9], 5)
book = attacks.EOT(lenet, masking.shaken, 5)(x[:9])
print("four lines = library:", torch.allclose(ours, book, atol=1e-4))

# %% tags=["remove-input"]
widgets.predict(
    "An attack on the random network stops as soon as an image is fooled: success, next image. Afterwards each image is shown to the network twenty more times. What happens?",
    {"Most of the successes hold: fooled is fooled": "It was fooled once, by one draw out of forty tries. The next draw is another picture.",
     "Many of the successes are gone": "Forty answers are forty chances for a lucky draw. The attack stopped at its first piece of luck, just across the boundary.",
     "All successes are gone: the defence works": "Some images were pushed far enough. And an attack that does not stop, and averages, pushes many more."},
    answer="Many of the successes are gone")

# %% tags=["covered"]
shaky = masking.Shaken(lenet, seed=1)
walk, claimed = x.clone(), torch.zeros(len(x), dtype=torch.bool)
for _ in range(40):
    point = walk.clone().requires_grad_()
    z = shaky(point)
    claimed |= z.argmax(1) != y                   # fooled once: this image stops here
    uphill = image_gradient(log_odds(z, y), point).sign()
    further = (x + (walk + 0.01 * uphill - x).clamp(-0.1, 0.1)).clamp(0, 1)
    walk = torch.where(claimed[:, None, None, None], walk, further)

with torch.no_grad():
    again = torch.stack([shaky(walk).argmax(1) != y for _ in range(20)]).float().mean(0)

# %% tags=["remove-input", "covered"]
records.say("The walk claims {claimed} of {n} images. Asked {fresh} more times about each of these, the network is wrong in {share:.0%} of its answers; on {most} images it is wrong in more than half of them.",
            n=len(y), claimed=int(claimed.sum()), fresh=20, share=again[claimed].mean(), most=int((again[claimed] > 0.5).sum()),
            holds=bool(again[claimed].mean() < 0.5 < claimed.float().mean()))

# %% tags=["remove-input", "covered"]
broken = records.read("07-broken")["values"]
left = {defence: {attack: found["mean"] for attack, found in by.items()} for defence, by in broken["accuracy"].items()}
shaken = left["shaken"]
records.say("**What we see.** Five trainings of LeNet (means), {n} images, eps = {eps}, judged by {judged} new answers to each image. "
            "PGD that stops at the first success leaves {stop:.0%}. The same walk to its end leaves {whole:.0%}, and PGD on the mean of {draws} draws {eot:.0%}. "
            "Without the defence PGD leaves {none:.0%}. The same {draws} draws serve all forty steps; fresh draws at each step, the usual form, were not tried.",
            n=broken["images"], eps=broken["eps"], judged=broken["judged"], stop=shaken["pgd"], whole=shaken["pgd, whole walk"], draws=broken["draws"],
            eot=shaken["adaptive"], none=left["none"]["pgd"], holds=shaken["adaptive"] < shaken["pgd, whole walk"] < shaken["pgd"])

# %% [markdown]
# :::{container} covered
# Two rules follow. A network that draws at random is judged by fresh draws, never by those the attack has seen. And on such a network an attack must not stop at its first success.
# :::
#
# ### Too sure for 32 bits
#
# [Chapter 04](04_many_steps.ipynb) multiplied the logits by a hundred, and PGD along PyTorch's cross-entropy failed. It also showed the cure: with the log-odds $m = \log\sum_{k\ne y} e^{z_k} - z_y$ the cross-entropy is $\log(1 + e^m)$, so
#
# $$
# \nabla \mathcal L = (1 - p_y)\, \nabla m , \qquad 0 < 1 - p_y < 1 .
# $$
#
# The factor is positive and the same for all pixels of an image: it changes no sign and no direction. Nor would a small factor alone cost a digit: a floating-point number keeps its relative precision. The loss is in a subtraction. By the logits, the gradient of the cross-entropy is $p_k$ for each other class $k$ and $p_y - 1$ for the true one, and just below 1 the 32-bit numbers lie $6 \cdot 10^{-8}$ apart. When the true logit leads by about 17, $p_y - 1$ is exactly 0 while the other $p_k$ are not: one term is missing, and signs go. When it leads by about 103, the $p_k$ are 0 as well.
#
# Does this need a factor of a hundred? Here are two plainly trained networks, and two whose activations and training temperature make large logits. For each image we compare the signs of the gradient in 32 bits with those in 64 bits.

# %% tags=["remove-input"]
floats = records.read("07-floats")["values"]
nets = {"lenet": "LeNet", "fully_connected": "Fully connected", "hebbian_bp": "BP", "hebbian_bio": "Bio"}
mean_of = lambda net, loss, key: sum(found["losses"][loss][key] for found in floats[net].values()) / len(floats[net])
lines = ["| network, eps | zero | wrong signs | FGSM | PGD |", "|---|---|---|---|---|"]
for net, name in nets.items():
    pair = [f"{mean_of(net, 'naive_ce', key):.0%} / {mean_of(net, 'ce', key):.0%}" for key in ("zero", "wrong signs", "fgsm", "pgd")]
    lines.append(f"| {name}, {floats[net]['0']['eps']} | " + " | ".join(pair) + " |")
Markdown("\n".join(lines))

# %% tags=["remove-input"]
fgsm = [[found["losses"][loss]["fgsm"] for loss in ("naive_ce", "ce")] for found in floats["lenet"].values()]
display(records.say("Shares of those of {n} test images that were classified right; in each cell first the cross-entropy as PyTorch computes it, then the log-odds. Zero: the gradient is exactly zero; wrong signs: in more than a tenth of the pixels; then what the two attacks fool. LeNet and the fully connected network: mean of five trainings; BP and Bio, the two networks of {{cite}}`belaustegui2022`: one training of each. "
                    "On the plain LeNet the naive form gets more than a tenth of the signs wrong on {wrong:.0%} of the images; FGSM along it fools fewer images in {fewer} of five trainings and more in none. On Bio and BP next to nothing is left of the gradient; where a gradient is exactly zero, the library's attacks step at random.",
                    n=300, wrong=mean_of("lenet", "naive_ce", "wrong signs"), fewer=sum(a < b for a, b in fgsm),
                    holds=mean_of("lenet", "ce", "wrong signs") < 0.01 < mean_of("lenet", "naive_ce", "wrong signs") and all(a <= b for a, b in fgsm) and min(mean_of(net, "naive_ce", "zero") for net in ("hebbian_bio", "hebbian_bp")) > 0.99), records.quote("07-floats"))

# %% tags=["remove-input"]
hidden = {net: floats[net]["0"] for net in ("hebbian_bio", "hebbian_bp")}
zeros = {net: found["losses"]["naive_ce"]["zero"] for net, found in hidden.items()}
records.verdict("Trained by backpropagation, both networks hide their input gradient: it is exactly zero for nearly all test images, and FGSM seems almost without effect.",
                source="belaustegui2022", where="section 3.2",
                reported="The zero vector in nearly all cases, for Bio and BP; FGSM almost totally ineffective.",
                measured=f"Exactly zero for {zeros['hebbian_bio']:.1%} (Bio) and {zeros['hebbian_bp']:.1%} (BP) of the images that were right; FGSM at eps = 0.15 fools "
                         f"{hidden['hebbian_bio']['losses']['naive_ce']['fgsm']:.1%} and {hidden['hebbian_bp']['losses']['naive_ce']['fgsm']:.1%} of them.",
                verdict="not tested here",
                why="The same zeros, but partly built in: our two were trained with a temperature of 1,000 in the loss, which was then dropped, and this alone makes the logits about a thousand times larger. The source trained without. A training without temperature would test the claim.")

# %% tags=["remove-input"]
points = {net: found["points"] for net, found in hidden.items()}
naive = {net: found["losses"]["naive_ce"]["pgd"] for net, found in hidden.items()}
schedule = {net: records.read("04-schedule")["values"][net]["2/255"]["0.15"] for net in hidden}
divided, n_divided = {net: kept["value"] for net, kept in schedule.items()}, schedule["hebbian_bp"]["n"]
records.verdict("Along the gradient of the cross-entropy, gradient attacks fail on these points; rescaling the logits undoes this.",
                source="belaustegui2022", where="section 3.2",
                reported="Any method based on the gradient of the cost will fail to find adversarial examples for these points; with the logits divided by 10^5 the gradients are there again.",
                measured=f"On all images that were right, PGD along PyTorch's cross-entropy fools {naive['hebbian_bio']:.1%} (Bio) and {naive['hebbian_bp']:.1%} (BP) at eps = 0.15. "
                         f"With the logits divided by 10^5, forty steps of 2/255 leave {divided['hebbian_bio']:.1%} and {divided['hebbian_bp']:.1%} of {n_divided} images (all of them counted, chapter 04).",
                verdict="not tested here",
                why="The same two trainings at a temperature of 1,000, so the large logits are partly ours. Trainings without temperature, attacked in both ways, would test it.")

# %% tags=["remove-input"]
records.say("The log-odds need no rescaling: on exactly the images whose cross-entropy has no gradient, PGD along them fools {bio:.1%} (Bio, {n_bio} images) and {bp:.1%} (BP, {n_bp} images).",
            bio=points["hebbian_bio"]["fooled"]["value"], n_bio=points["hebbian_bio"]["n"], bp=points["hebbian_bp"]["fooled"]["value"], n_bp=points["hebbian_bp"]["n"],
            holds=all(points[net]["fooled"]["low"] > naive[net] + 0.5 for net in hidden))

# %% [markdown]
# **Defensive distillation** {cite}`papernot2016distillation` arrives at huge logits by training. A teacher is trained on $\operatorname{softmax}(z/T)$ with a large temperature $T$; a student learns the teacher's soft answers at the same $T$; then $T$ is taken away, and the student's logits are about $T$ times too large. It was proposed as a defence and broken soon after {cite}`carlini2017`. {cite}`belaustegui2022` names it as the relative of what its networks do.

# %% tags=["remove-input"]
made = records.read("07-distilled")["values"]
student, control = made["temperatures"]["100"], records.read("07-undistilled")["values"]["temperatures"]["1"]
rows = {"no attack, all test images": "test accuracy", "naive PGD": "pgd naive", "naive PGD, logits divided by T": "pgd divided",
        "PGD, log-odds": "pgd", "PGD, margin": "margin", "strongest": "strongest"}
each = lambda found: f"{found['mean']:.1%} (" + ", ".join(f"{value:.0%}" for value in found["values"]) + ")"
lines = ["| attack on the student | T = 100 | T = 1 |", "|---|---|---|"]
lines += [f"| {name} | {each(student[key])} | {each(control[key])} |" for name, key in rows.items()]
Markdown("\n".join(lines))

# %% tags=["remove-input"]
display(records.say("Accuracy, mean and each of five trainings. LeNets distilled on {train:,} images, {epochs} epochs each for teacher and student; {n} images at eps = {eps}. At the high temperature the median gap between the true logit and the next is {gap:.0f} instead of {plain:.0f}, and the naive gradient is exactly zero for {zero:.0%} of the images. "
                    "Under naive PGD distillation seems to add {seems:.0f} percentage points. Under the strongest attack the students at the high temperature keep {strong:.0%}, those at temperature one {without:.0%}, in {less} of five trainings less: nothing was gained, and some clean accuracy was lost. With logits this large the logsumexp is a maximum, so the log-odds *are* the margin: hence their equal rows. "
                    "(The LeNets of the other sections keep less; they had more images, more epochs and shifted copies.)",
                    train=made["trained on"], epochs=made["epochs"], n=made["images"], eps=made["eps"], gap=student["gap"]["mean"], plain=control["gap"]["mean"], zero=student["zero gradient"]["mean"],
                    seems=100 * (student["pgd naive"]["mean"] - control["pgd naive"]["mean"]), strong=student["strongest"]["mean"], without=control["strongest"]["mean"],
                    less=sum(a < b for a, b in zip(student["strongest"]["values"], control["strongest"]["values"])),
                    holds=left["none"]["strongest"] < student["strongest"]["mean"] and student["pgd"]["values"] == student["margin"]["values"] and student["pgd naive"]["mean"] > control["pgd naive"]["mean"] + 0.1 and student["strongest"]["mean"] <= control["strongest"]["mean"]
                    and student["test accuracy"]["high"] < control["test accuracy"]["low"]), records.quote("07-distilled"), records.quote("07-undistilled"))

# %% [markdown]
# ### A graph that was cut
#
# The last one is the simplest: the image leaves the graph of the computation, through a codec, an integer type or a server. There is no gradient, not even zero. The library does not guess. It says so:

# %%
cut = masking.Cut(lenet)
try:
    attacks.pgd(cut, x, y, eps=0.1)
except ValueError as refused:
    print(narrow(refused))

joined = attacks.BPDA(cut.model, lambda image: image)  # the way in without the cut
print("same answers:", torch.equal(evaluation.logits(cut, x), evaluation.logits(joined, x)))

# %% [markdown]
# A library that steps along zeros instead would report a robust network. Whoever knows the weights connects the graph again and has the undefended network. Who does not can still ask for answers.
#
# ## Before and after
#
# One more attack before the table: *transfer*. You do not have the weights behind the defence, but you can train a LeNet of your own, make adversarial examples for it, and send them.

# %% tags=["remove-input"]
widgets.predict(
    "A rounded LeNet, eps = 0.1. Of the images made against another LeNet, trained from another seed, how many fool it?",
    {"About as many as those made against the same weights": "The same architecture and data do not make the same boundary: the directions differ.",
     "A small part of them": "At this budget, examples seldom carry over between two trainings. So a transfer attack that fails proves nothing either.",
     "None: adversarial examples belong to one network": "Some carry over, and more do at a larger budget."},
    answer="A small part of them")

# %% tags=["remove-input", "covered"]
heads = {"none": "none", "rounded": "rounded", "shaken": "random", "scaled": "logits x 100"}
rows = {"no attack": "clean", "noise, best of ten": "noise", "naive FGSM": "fgsm", "naive PGD": "pgd naive", "PGD, log-odds": "pgd", "the same, whole walk": "pgd, whole walk",
        "**adaptive** PGD": "adaptive", "transfer, same weights": "undefended", "transfer, other training": "transfer", "Square": "square",
        "**strongest**": "strongest"}
lines = ["| attack / defence | " + " | ".join(heads.values()) + " |", "|---|" + "---|" * len(heads)]
lines += [f"| {name} | " + " | ".join(f"{left[defence][key]:.0%}" if key in left[defence] else "" for defence in heads) + " |" for name, key in rows.items()]
display(Markdown("\n".join(lines)), records.quote("07-broken"))

# %% tags=["remove-input", "covered"]
both = broken["accuracy"]
records.say("Accuracy on {n} images at eps = {eps}: mean over five trainings of LeNet. Naive: along the cross-entropy as PyTorch computes it. Adaptive: along the log-odds, through BPDA or EOT. Transfer, same weights: images made for the undefended network. "
            "Naive PGD and PGD stop at the first success. Down to the whole walk the attacker knows nothing of rounding and random draws. "
            "Rounding: PGD leaves {rounded:.0%}, with BPDA {bpda:.0%} (in each training at most {most:.0%}). Logits times a hundred: naive PGD leaves {scaled:.0%}, along the log-odds {logodds:.0%}. Logits this large make the log-odds the margin; the images made for the undefended network, along its own log-odds, do a little better ({sent:.0%}). "
            "Random: EOT leaves {eot:.0%}, which is more than the undefended network keeps: part of what this defence does is more than hiding, or our attack on it is too weak. The table cannot tell which.",
            n=broken["images"], eps=broken["eps"], rounded=left["rounded"]["pgd"], bpda=left["rounded"]["adaptive"], most=max(both["rounded"]["adaptive"]["values"]),
            scaled=left["scaled"]["pgd naive"], logodds=left["scaled"]["pgd"], sent=left["scaled"]["undefended"], eot=left["shaken"]["adaptive"],
            holds=left["scaled"]["undefended"] < left["scaled"]["adaptive"] == left["scaled"]["pgd"] and left["shaken"]["adaptive"] > left["none"]["pgd"] and left["rounded"]["adaptive"] < left["rounded"]["pgd"] - 0.3 and left["scaled"]["pgd"] < left["scaled"]["pgd naive"] - 0.3)

# %% tags=["hide-input", "covered"] mystnb={"image": {"alt": "For each of four defences, five lines from a dot on the left, the accuracy under the attack that does not know it, to a dot on the right, under the one that does. The lines fall steeply for rounding and large logits, less for the random defence, and are level without a defence."}, "figure": {"caption": "Each line is one training of LeNet: accuracy under PGD that does not know the defence (left end: stop at the first success, along the log-odds, with large logits along the naive cross-entropy), and under the attack that does (right end: BPDA, EOT or log-odds).", "name": "fig-before-after"}}
ax = plots.axes(height=3.2)
for place, (defence, look) in enumerate(zip(heads, plots.OTHERS)):
    blind = "pgd naive" if defence == "scaled" else "pgd"
    for before, after in zip(both[defence][blind]["values"], both[defence]["adaptive"]["values"]):
        ax.plot([place - 0.25, place + 0.25], [before, after], color=look.colour, marker=look.marker, linewidth=1.2)
ax.set_xticks(range(len(heads)), [name.replace(" ", "\n", 1) for name in heads.values()])
ax.set(ylabel="accuracy", ylim=(-0.02, 1.02))
ax.grid(axis="x", visible=False)
plots.percent(ax)
plots.finish(ax, records.read("07-broken")["provenance"]["source"])

# %% [markdown]
# The rounded network falls *below* the undefended one; a section below finds out why. The graph that was cut, connected again, is the network in the first column. The strongest attack is left out for the random defence, because its parts stop at their first success, and for the large logits, because they change no decision.
#
# ## What the attack sees
#
# The loss as a landscape: from one image, walk along the sign of the gradient (to the right) and along random signs (upwards), and draw the loss at each point. {cite}`tramer2018` drew such surfaces; {cite}`cutilli2021` retells them: near the image of a masked network the gradient points elsewhere than to where the loss is largest. Choose a network, then look closer.

# %% tags=["remove-input"]
pick = (log_odds(evaluation.logits(lenet, x), y) + 5).abs().argmin()[None]  # odds against it of about 1 : 150, neither sure nor unsure
one, its = x[pick], y[pick]
uphill = image_gradient(log_odds(lenet(point := one.clone().requires_grad_()), its), point).sign()
aside = torch.randint(0, 2, uphill.shape, generator=seeded(5)).float() * 2 - 1
VIEWED = {"honest": lenet, "rounded": second, "random": masking.Shaken(lenet), "logits x 100": torch.nn.Sequential(lenet, layers.Scale(100))}
WINDOWS = {"from afar": 0.2, "near": 0.03, "very near": 0.001}


def surface(network, window, n=25):
    """The naive cross-entropy in 32 bits over the plane, (n, n); one draw for each point."""
    side = torch.linspace(-WINDOWS[window], WINDOWS[window], n)
    z = logits_on_plane(VIEWED[network], one, uphill, aside, side, side, batch_size=1 if network == "random" else 625)
    return cross_entropy(z.flatten(0, 1), its.expand(n * n)).view(n, n)


def level(values):
    """Share of neighbours, left and right, with exactly the same loss."""
    return (values[:, 1:] == values[:, :-1]).float().mean().item()


surfaces = {(network, window): surface(network, window) for network in VIEWED for window in WINDOWS}


def draw_surface(network, window):
    values, reach = surfaces[network, window], WINDOWS[window]
    ax = plots.axes(height=3.6)
    low, high = values.min().item() + 0.0, values.max().item() + 0.0
    ax.imshow(((values - low) / max(high - low, 1e-30)).numpy(), cmap=plots.HEAT, vmin=0, vmax=1, origin="lower", extent=(-reach, reach, -reach, reach))
    if high > low and network in ("honest", "logits x 100"):
        ax.contour(values.numpy(), levels=torch.linspace(low, high, 9)[1:-1].tolist(), colors=plots.GREY, linewidths=0.7, extent=(-reach, reach, -reach, reach))
    ax.plot(0, 0, "o", color=plots.INK, markersize=6)
    ax.grid(False)
    ax.set(xlabel="along the gradient's sign", ylabel="along random signs", title=f"loss from {low:.2g} to {high:.2g}", xticks=[-reach, 0, reach], yticks=[-reach, 0, reach])
    return plots.finish(ax, mnist.source)


def say_surface(network, window):
    values = surfaces[network, window]
    return (f"The loss of the network ({network}) over a plane around one image, {window}, up to {WINDOWS[window]} to each side. It runs from {values.min().item() + 0.0:.2g} to {values.max().item() + 0.0:.2g}; "
            f"{level(values):.0%} of neighbouring points have exactly the same loss.")


widgets.explore(draw_surface, alt=say_surface, network=list(VIEWED), window=list(WINDOWS),
                caption="The cross-entropy, computed in 32 bits, on a plane through one digit (the dot). Stronger colour: larger loss, each window on its own scale. The axes are those of the honest network's gradient in all four. Nothing is clamped to [0, 1] here.")

# %% tags=["remove-input"]
flat = {network: level(surfaces[network, "very near"]) for network in VIEWED}
alike = torch.corrcoef(torch.stack([surfaces[network, "from afar"].flatten() for network in ("honest", "rounded")]))[0, 1].item()
records.say("**What we see.** From afar the honest and the rounded network show nearly the same mountain (correlation {alike:.2f}): the adversarial examples are in the same place. Nearer, the rounded one jumps along straight edges, where the black pixels reach their next level. Very near, the honest one is a slope, and the rounded one the flat top of a stair: {rounded:.0%} of neighbouring points have exactly the same loss, against {honest:.0%} for the honest one. "
            "With the logits times a hundred the ground around the image is level ({scaled:.0%}), because the loss has been rounded to one number; the mountain begins suddenly. With random draws each point was asked once: from afar the shape shows through, very near only the noise does.",
            rounded=flat["rounded"], honest=flat["honest"], scaled=flat["logits x 100"], alike=alike, holds=alike > 0.9 and flat["rounded"] > flat["honest"] and flat["logits x 100"] > flat["honest"])

# %% [markdown]
# ## Hidden, and still no fraud
#
# Is a zero gradient always the sign of a false defence? Take the rounding to its end, two levels, black and white.

# %% tags=["remove-input"]
widgets.predict(
    "LeNet behind rounding to two levels. At eps = 0.1, PGD along its own gradient fails, of course. And BPDA?",
    {"It breaks this one as it broke sixteen levels": "BPDA finds the way if there is one. Ask first what a change of 0.1 can do to a pixel that will become black or white.",
     "It fails as well": "Most pixels of a digit are nearly black or nearly white. A change of 0.1 does not carry them across the middle, so the network sees the same picture.",
     "It breaks it even faster: the steps are larger": "They are so large that few pixels can take one."},
    answer="It fails as well")

# %% tags=["remove-input", "covered"]
steps = records.read("07-levels")["values"]
lines = ["| levels | eps | moved | PGD | BPDA | Square |", "|---|---|---|---|---|---|"]
for count, by_eps in steps["levels"].items():
    lines += [f"| {count} | {eps} | {found['pixels']:.0%} | " + " | ".join(f"{found[attack]['mean']:.0%}" for attack in ("pgd", "bpda", "square")) + " |" for eps, found in by_eps.items()]
display(Markdown("\n".join(lines)), records.quote("07-levels"))

# %% tags=["remove-input", "covered"]
few = steps["levels"]
records.say("Accuracy on {n} images, mean of five trainings of LeNet; *moved* is the share of pixels that the budget can carry to another level. With two levels {two:.0%} is left under BPDA at eps = 0.1; at eps = 0.2 it is {twofar:.0%}, and {square:.0%} under Square. "
            "With four levels it is {four:.0%} at eps = 0.1, where the budget moves {pixels:.0%} of the pixels to another level, and {fourfar:.0%} at eps = 0.2, where it moves {pixelsfar:.0%}.",
            n=steps["images"], two=few["2"]["0.1"]["bpda"]["mean"], twofar=few["2"]["0.2"]["bpda"]["mean"], square=few["2"]["0.2"]["square"]["mean"], four=few["4"]["0.1"]["bpda"]["mean"], fourfar=few["4"]["0.2"]["bpda"]["mean"],
            pixels=few["4"]["0.1"]["pixels"], pixelsfar=few["4"]["0.2"]["pixels"], holds=few["4"]["0.1"]["bpda"]["mean"] > 0.8 > 0.3 > few["4"]["0.2"]["bpda"]["mean"])

# %% [markdown]
# :::{container} covered
# On black-and-white digits a coarse stair swallows a small budget: here the gradient is hidden *and* few examples are left that we could find (Square had 300 queries, and the strongest attack was not run). One reason can be counted: few pixels can move. It makes this plausible and does not prove it, and it belongs to these digits and this budget. So a zero gradient is a question, not a verdict. The answer comes from an attack that knows the defence, at several budgets.
# :::
#
# *Several budgets* matters for sixteen levels too. A black pixel moves by whole steps of $1/15$: not at all below half a step, by one step up to a step and a half, which is exactly our 0.1, and from there by two. (At the tie itself PyTorch rounds to the even step: black jumps two, white only one.) Let us attack at each budget anew, with BPDA.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Accuracy against eps. The undefended network falls smoothly. The rounded one falls in steps: above the other curve for most of the way, with a sudden drop below it at 0.1."}, "figure": {"caption": "PGD with twenty steps, on the undefended LeNet and, through BPDA, on the same LeNet behind sixteen levels; each budget attacked anew. The dotted lines stand where a black pixel moves by one step more.", "name": "fig-stair"}}
budgets = [0, 0.015, 0.03, 0.034, 0.045, 0.06, 0.08, 0.0999, 0.1, 0.12, 0.14]
stands = {"no defence": [], "rounded": []}
for eps in budgets:
    for name, source, judge in (("no defence", lenet, lenet), ("rounded", bpda, second)):
        images = strike(source, eps, steps=20) if eps else x
        stands[name].append(evaluation.classified_right(judge, images, y).float().mean().item())
ax = plots.axes(height=3.0)
for (name, left_over), look in zip(stands.items(), plots.OTHERS):
    ax.plot(budgets, left_over, color=look.colour, marker=look.marker, linestyle=look.line, label=name)
for edge in (0.5 / 15, 1.5 / 15):
    ax.axvline(edge, color=plots.INK, linestyle=":", linewidth=0.8)
ax.set(xlabel="eps", ylabel="accuracy", ylim=(-0.02, 1.02))
plots.percent(ax)
ax.legend()
plots.finish(ax, mnist.source)

# %% tags=["remove-input"]
at = {eps: {name: values[budgets.index(eps)] for name, values in stands.items()} for eps in (0.0999, 0.1)}
records.say("Just below the edge the rounding leaves {before:.0%} of {n} images, against {plain:.0%} without it; at the edge {after:.0%}. One budget would have shown a defence, the next one a damage.",
            before=at[0.0999]["rounded"], plain=at[0.0999]["no defence"], after=at[0.1]["rounded"], n=len(y),
            holds=at[0.0999]["rounded"] > at[0.0999]["no defence"] > at[0.1]["rounded"])

# %% [markdown]
# ## Signs: the audit
#
# Some things cannot happen, or hardly, where the gradient is honest: that noise beats PGD; that one step beats many; that an unbounded attack fails; that another network's examples do better than one's own. `audit.audit` tests eight such signs, and a ninth if you give it another network, after the lists of {cite}`athalye2018` and {cite}`carlini2019`. FLAG: the whole 95 % interval of the share lies above one in twenty.

# %%
with quiet():
    warnings.simplefilter("ignore")
    print(narrow(audit.audit(second, x[:40], y[:40], eps=0.1, steps=20)))

# %% tags=["remove-input"]
audits = records.read("07-audit")["values"]
who = {"none": "none", "rounded": "rounded", "shaken": "random", "scaled": "x 100", "cut": "cut"}
names = list(audits["none"]["as it is"]["findings"])
flag = lambda found, name: "" if found["findings"][name]["passed"] else f"{found['findings'][name]['share']:.0%}"
lines = ["| sign: share of images where | " + " | ".join(who.values()) + " |", "|---|" + "---|" * len(who)]
lines += [f"| {name} | " + " | ".join(flag(audits[defence]["as it is"], name) for defence in who) + " |" for name in names]
Markdown("\n".join(lines))

# %% tags=["remove-input"]
silent = [who[defence] for defence in who if audits[defence]["as it is"]["passed"]]
idle = [name for name in names if all(audits[defence]["as it is"]["findings"][name]["passed"] for defence in who)]
opened = [who[defence] for defence in ("rounded", "shaken", "cut") if audits[defence]["known"]["passed"]]
display(records.say("What the audit flags (empty: nothing to flag) for one LeNet, about {n} images, eps = 0.1; transfer from a second LeNet. Only the network without a defence raises no flag. "
                    "{idle} of the {signs} signs flagged nothing here. Opened (BPDA, EOT, the graph connected), these raise none: {opened}. The logits times a hundred stay as they are: there it is the loss that must change.",
                    n=audits["none"]["as it is"]["images"], opened=", ".join(opened), idle=len(idle), signs=len(names), holds=silent == ["none"] and len(opened) == 3), records.quote("07-audit"))

# %% [markdown]
# An audit that raises no sign is no proof: there may be a better attack.
#
# ## What each part adds
#
# No attack is the strongest on every image. `attacks.strongest` is a chain in which each part works on what the others left, and its companion `felled_by` says which part felled which image. So we can ask what each part adds after those before it; in another order the counts change. (*DLR* is the margin divided by the spread of the largest logits, so that their scale plays no part; *near targets* are the classes that the earlier parts brought closest.)

# %% tags=["remove-input"]
work = records.read("07-effort")["values"]
lenets, full = (work["nets"][net] for net in ("lenet", "fully_connected"))
lines = [f"| part | LeNet, eps = {lenets['eps']} | fully connected, eps = {full['eps']} |", "|---|---|---|"]
lines += [f"| {part} | " + " | ".join(", ".join(map(str, net["parts"][part])) for net in (lenets, full)) + " |" for part in lenets["parts"]]
Markdown("\n".join(lines))

# %% tags=["remove-input"]
pairs = {name: list(net["restarts and strongest"].values()) for name, net in (("LeNet", lenets), ("fully connected", full))}
total = lambda name, key: sum(pair[key] for pair in pairs[name])
display(records.say("How many of {n} images each part felled, in the order of the chain; the five numbers are five trainings. Compared image by image with PGD from five random starts with forty steps each, over all five trainings: the chain alone fells {a} images of LeNet, the five starts alone {b}; on the fully connected network {c} and {d}.",
                    n=work["images"], a=total("LeNet", "only_a"), b=total("LeNet", "only_b"), c=total("fully connected", "only_a"), d=total("fully connected", "only_b"),
                    holds=total("LeNet", "only_a") > total("LeNet", "only_b") and total("fully connected", "only_a") > total("fully connected", "only_b")), records.quote("07-effort"))

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels, LeNet and the fully connected network. Five lines each, one for each training: the accuracy left falls as the passes per image grow, steeply at first, then slowly over the rungs of PGD, and further at the last step, to the star."}, "figure": {"caption": "Effort against what is left: FGSM, PGD with ten and forty steps, five restarts, the strongest attack (star); each line is one training. On the right the diamond is `effort=\"thorough\"` for the first training.", "name": "fig-effort"}}
axes = plots.axes(2, height=3.4)
for ax, net, title in zip(axes, (lenets, full), ("LeNet, eps = 0.1", "Fully connected, eps = 0.05")):
    for (seed, ladder), look in zip(net["ladder"].items(), plots.OTHERS):
        rungs = [(rung["forward"] + rung["backward"], rung["left"] / work["images"]) for name, rung in ladder.items() if name != "thorough"]
        ax.semilogx(*zip(*rungs), color=look.colour, linestyle=look.line, marker=".", label=f"training {seed}")
        ax.plot(*rungs[-1], "*", color=look.colour, markersize=10)
        if "thorough" in ladder:
            last = ladder["thorough"]
            ax.plot([rungs[-1][0], last["forward"] + last["backward"]], [rungs[-1][1], last["left"] / work["images"]], "D:", color=look.colour, markersize=5)
    ax.set(xlabel="passes for an image", ylabel="accuracy left", title=title, ylim=(0, 1))
    plots.percent(ax)
axes[0].legend()
plots.finish(axes, records.read("07-effort")["provenance"]["source"])

# %% tags=["remove-input"]
first = full["ladder"]["0"]
passes = lambda rung: rung["forward"] + rung["backward"]
RUNGS = "PGD, 40 steps", "PGD, 5 x 40 steps", "standard"
dearer = {name: [passes(ladder[RUNGS[2]]) / passes(ladder[RUNGS[1]]) for ladder in net["ladder"].values()] for name, net in (("lenet", lenets), ("full", full))}
fewer = [[ladder[a]["left"] - ladder[b]["left"] for ladder in full["ladder"].values()] for a, b in zip(RUNGS, RUNGS[1:])]
records.say("**What we see.** Within PGD the curves flatten: from forty steps to five restarts {least} to {most} images fall on the fully connected network. Then the chain fells {from_} to {to} more. A flat curve of one attack is no floor. "
            "But the chain spent other budgets than the restarts: {full[0]:.1f} to {full[1]:.1f} times the passes there, and {lenet[0]:.2f} to {lenet[1]:.1f} times on LeNet; PGD with as many passes was not tried. "
            "On the first fully connected network the thorough effort spends {times:.0f} times the passes of the standard one and fells {more} more of {n} images. What is left after any attack is an *upper* bound on the robustness.",
            least=min(fewer[0]), most=max(fewer[0]), from_=min(fewer[1]), to=max(fewer[1]), full=(min(dearer["full"]), max(dearer["full"])), lenet=(min(dearer["lenet"]), max(dearer["lenet"])),
            times=passes(first["thorough"]) / passes(first["standard"]), more=first["standard"]["left"] - first["thorough"]["left"], n=work["images"],
            holds=max(fewer[0]) < min(fewer[1]) and min(dearer["full"]) > 1 and sum(dearer["lenet"]) > len(dearer["lenet"]))

# %% tags=["remove-input"]
peers, ours = records.read("judge-peers")["values"], records.read("04-honest")["values"]
peer, targeted = (peers[name]["lenet"] for name in ("torchattacks AutoAttack", "adv-lib APGD, targeted"))
best, run = ours["nets"]["lenet"]["strongest"], ours["linf"]["strongest"]
chain = round(best["value"] * best["n"]), round(run["accuracy"][run["eps"].index(0.1)] * run["n"])
records.say("Nor is one implementation of the field's yardstick a floor. Of {n} images of one LeNet at eps = 0.1, AutoAttack {{cite}}`croce2020` as torchattacks has it leaves {theirs}, the targeted APGD of adv-lib alone {targeted}, our chain {ours} (or {second} in another run; records `judge-peers` and `04-honest`). The authors' own code was not run.",
            theirs=peer["left"], targeted=targeted["left"], n=peer["images"], ours=chain[0], second=chain[1],
            holds=peer["images"] == targeted["images"] == best["n"] == run["n"] and peer["eps"] == targeted["eps"] == ours["nets"]["lenet"]["eps"] and max(chain) < targeted["left"] < peer["left"])

# %% [markdown]
# ## A sandwich: attack above, certificate below
#
# An attack bounds robustness from above. A *certificate* bounds it from below: a proof, for one image, that nothing in the ball changes the answer (up to rounding errors, which our lines below do not bound). The simplest is the {term}`interval bound` {cite}`gowal2018`: push the whole box $[x - \varepsilon, x + \varepsilon]$ through the network, layer by layer. A box has a centre $c$ and a half-width $\rho$. A linear layer turns them into
#
# $$
# c' = W c + b , \qquad \rho' = |W| \, \rho ,
# $$
#
# and a ReLU acts on both ends, $c - \rho$ and $c + \rho$. For the last layer, with rows $w_j$ and biases $b_j$,
#
# $$
# \begin{aligned}
# z_j - z_y \;\le\;& (w_j - w_y)^{\top} c + b_j - b_y \\
# &+ |w_j - w_y|^{\top} \rho .
# \end{aligned}
# $$
#
# If the right side is negative for all $j \neq y$, the image is safe. The true robustness lies between the two, for *every* network:
#
# $$
# \begin{aligned}
# \text{certified} \;&\le\; \text{robust accuracy} \\
# &\le\; \text{accuracy under attack} \\
# &\le\; \text{clean accuracy}.
# \end{aligned}
# $$
#
# For a network with one linear layer the bound is exact, so attack and certificate must meet. With more layers it gets loose. Linear instead of constant bounds are tighter {cite}`zhang2018`, a search over the states of all ReLUs is exact and slow {cite}`tjeng2019`, and randomised smoothing certifies a smoothed network with high probability {cite}`cohen2019`.

# %%
def certified_linear(model, x, y, eps):
    """Which images no change up to eps can fool, for a network of one linear layer."""
    weight, bias = model[-1].weight, model[-1].bias
    low, high = (x - eps).clamp(0, 1).flatten(1), (x + eps).clamp(0, 1).flatten(1)
    centre, half = (low + high) / 2, (high - low) / 2
    difference = weight - weight[y][:, None]               # (N, K, pixels): w_j - w_y
    worst = torch.einsum("nkp,np->nk", difference, centre) + bias - bias[y][:, None]
    worst = worst + torch.einsum("nkp,np->nk", difference.abs(), half)
    return worst.scatter(1, y[:, None], -1).amax(1) < 0

# %% tags=["nbval-check-output"]
from advlens.certify import certified as safe

generator = seeded()
linear = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
linear.requires_grad_(False)
linear[1].weight.copy_(0.1 * torch.randn(10, 784, generator=generator))
linear[1].bias.zero_()
label = evaluation.logits(linear, x).argmax(1)
same = [torch.equal(safe(linear, x, label, eps), certified_linear(linear, x, label, eps))
        for eps in (0.001, 0.01, 0.03)]
print("ours = library:", all(same))

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two panels of accuracy against eps. For the linear network the curve of the attack and that of the certificate lie on each other. For the fully connected network they part at once: the certificate falls to zero while the attack still leaves nearly all images."}, "figure": {"caption": "Above, what the strongest attack leaves; below, what interval bounds prove. The truth lies in the shaded gap. The two axes of eps differ.", "name": "fig-sandwich"}}
slices = records.read("07-sandwich")["values"]
axes = plots.axes(2, height=3.2, sharey=True)
for ax, (name, title) in zip(axes, (("linear", "linear"), ("fully_connected", "fully connected"))):
    net = slices["nets"][name]
    at, above, below = [0, *net["eps"]], [net["clean"], *net["above"]], [net["clean"], *net["below"]]
    ax.fill_between(at, below, above, color=plots.GREY, alpha=0.2, linewidth=0)
    ax.plot(at, above, color=plots.colour("strongest"), marker=plots.LOOKS["strongest"].marker, label="strongest attack")
    ax.plot(at, below, color=plots.RIGHT, linestyle="--", marker="^", label="certified")
    ax.set(xlabel="eps", ylabel="accuracy", title=title, ylim=(-0.02, 1))
    plots.percent(ax)
    ax.legend(loc="lower left" if name == "linear" else "upper right")
plots.finish(axes, records.read("07-sandwich")["provenance"]["source"])

# %% tags=["remove-input"]
one, deep = slices["nets"]["linear"], slices["nets"]["fully_connected"]
gaps = {name: max(a - b for a, b in zip(net["above"], net["below"])) for name, net in slices["nets"].items()}
display(records.say("{n} images, one training of each network. On the linear network attack and certificate differ by {linear:.1%} of the images at most. On the fully connected one the gap reaches {deep:.0%}: somewhere in it lies the truth, and neither side says where. "
                    "Images that were certified and fell all the same: {broken}. It must be so, for every network and budget; a single one would mean that the attack, the certificate or the code is wrong, or a rounding error.",
                    n=slices["images"], linear=gaps["linear"], deep=gaps["fully_connected"], broken=one["broken"] + deep["broken"],
                    holds=one["broken"] + deep["broken"] == 0 and gaps["linear"] < 0.02 < gaps["fully_connected"]), records.quote("07-sandwich"))

# %% [markdown]
# (recipe-adaptive-attack)=
# ## The recipe: an adaptive attack in ten steps
#
# An {term}`adaptive attack` is built after the defence is complete, by somebody who knows it and wants it to fall {cite}`athalye2018,tramer2020adaptive`. Tick these off, in this order; a claim of robustness without them is not finished.
#
# 1. **Say the claim.** Which network, which images, which norm and budget, what the attacker knows. A claim that cannot be tested cannot hold.
# 2. **Give the attacker everything** that the claim does not forbid: weights, code, the defence and its random distribution.
# 3. **Is the attack sane?** More budget never helps the network; an unbounded attack fools every image; noise never wins; more steps hardly ever lose.
# 4. **Look at the gradient**: the share that is exactly zero, two forward passes that differ. Run the audit.
# 5. **Choose a loss that does not vanish**: log-odds and margin, never the naive cross-entropy alone.
# 6. **Undo what hides the gradient**: BPDA for what has no slope, EOT for what draws at random, the graph connected for what cuts it. Attack *all* parts of the defence at once.
# 7. **Judge the defended network itself**, and a random one on fresh draws, without stopping the attack at its first success.
# 8. **Use an attack that needs no gradient**, and transfer from other networks. Where one of them wins, go back to step 4.
# 9. **Take the worst case for each image** over several attacks (`strongest`), and spend more, in other ways too, until nothing more falls. Then call it an upper bound.
# 10. **Compare fairly**: the undefended network under the same attacks, clean accuracy beside robust accuracy, several trainings for a statement about networks. Where a certificate is to be had, put it below.
#
# ## The honest end

# %% tags=["remove-input"]
records.say("**What was shown.** On MNIST, at eps = 0.1 in the l-infinity norm, a LeNet that is rounded to sixteen levels, has its logits multiplied by a hundred or is cut from its graph looks robust and is not: PGD that knows what was done leaves {rounded:.0%} of the rounded one (the strongest attack {worst:.1%}) and {scaled:.0%} of the one with large logits; without any defence it leaves {none:.0%} (the strongest {bare:.1%}). "
            "Distilled LeNets keep {naive:.0%} under naive PGD, and under the strongest attack no more than students that were trained without a temperature ({distilled:.0%} and {plain:.0%}). "
            "The random defence keeps {blind:.0%} under an attack that stops too early, {whole:.0%} when it walks to the end, and {eot:.0%} with the mean of {draws} draws, the one setting that we tried. Just below that budget, on one LeNet and under PGD with twenty steps, more is left with sixteen levels than without, and behind two or four levels we found few examples. "
            "All but the audit, the curve over budgets, the sandwich, Bio and BP are means of five trainings.",
            rounded=left["rounded"]["adaptive"], scaled=left["scaled"]["pgd"], naive=student["pgd naive"]["mean"], distilled=student["strongest"]["mean"], plain=control["strongest"]["mean"], none=left["none"]["pgd"], blind=left["shaken"]["pgd"], whole=left["shaken"]["pgd, whole walk"], eot=left["shaken"]["adaptive"], draws=broken["draws"],
            worst=left["rounded"]["strongest"], bare=left["none"]["strongest"],
            holds=max(left["rounded"]["adaptive"], left["scaled"]["pgd"]) < left["none"]["pgd"] + 0.05 and student["strongest"]["mean"] <= control["strongest"]["mean"])

# %% [markdown]
# **What is open.** Whether a better attack, with fresh draws for one, takes the rest from the random defence. Whether these results carry over to photographs. And for any network that survives the recipe: whether the next attack will be stronger. Only a certificate answers that, and for networks that were not trained for it ours is too loose.

# %% tags=["remove-input"]
records.claims([
    {"claim": "Near the image of a masked network the gradient points in a direction very different from that of the largest increase of the loss.",
     "source": "cutilli2021", "where": "section 3.1.7, retold from Tramèr and others (2018)", "reported": "seen on surfaces of adversarially trained networks (figure 3.3)",
     "measured": "surfaces of a rounded, a random and a rescaled LeNet, none of them adversarially trained", "verdict": "not tested here"},
    {"claim": "With BPDA and EOT the vast majority of the attacks on published defences succeed.",
     "source": "cutilli2021", "where": "section 3.1.4, retold from Athalye and others (2018)", "reported": "the vast majority",
     "measured": "four false defences of our own, not the published ones", "verdict": "not tested here"},
    {"claim": "Defensive distillation only hides the gradients; with simple adjustments perturbations are as small as on a normal network.",
     "source": "belaustegui2022", "where": "section 3.2, retold from Carlini and Wagner (2017)", "reported": "sizes comparable with those of a normal network",
     "measured": f"distilled LeNets: naive PGD leaves {student['pgd naive']['mean']:.1%}, along the log-odds {student['pgd']['mean']:.1%}; sizes of perturbations were not compared", "verdict": "not tested here"},
])

# %% [markdown]
# ## Exercises
#
# 1. **By hand.** A sure network, a stair and a die: seven numbers.
# 2. **Code.** On a network that shakes, write a step along the mean gradient.
# 3. **Measure.** A layer makes the digits black and white. How much is left under four attacks, and under all of them?
# 4. **Break it.** A sealed network, with a defence that this chapter does not name. Its gradient is not zero. Make it fall.
# 5. **Think.** A paper claims robustness. Review it with the recipe.
#
# [Exercises for this chapter](../exercises/student/07_honest_evaluation.ipynb)
#
# ## Take-away
#
# - A failed attack is evidence about the attack. Ask what the gradient was before you praise the network.
# - Rounding shatters a gradient, randomness blurs it, huge logits drown it in 32 bits, a cut graph removes it. BPDA, EOT, log-odds and a new connection bring it back.
# - A hidden gradient is a question, not a verdict: behind a coarse stair on black-and-white digits few examples could be found at a small budget.
# - On a network that draws at random, judge by fresh draws, and do not stop at the first success.
# - An attack gives an upper bound, a certificate a lower one. The truth lies between, and the gap should be shown.
#
# ## Where the numbers come from
#
# The opening, the surfaces, the printed audit and the comparisons with the library are computed live, on the data named under each figure. The records `07-broken`, `07-floats`, `07-distilled`, `07-undistilled`, `07-levels`, `07-audit`, `07-effort` and `07-sandwich` are always about real data, and so are `judge-peers`, `04-honest` and `04-schedule`; `advlens record 07-broken` measures the first again, and likewise the others. The functions are in `measurements/07_honest_evaluation.py`. The networks are the course's checkpoints and, for five trainings, LeNets and fully connected networks of the same recipe with other seeds.
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
