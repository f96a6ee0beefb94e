# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercises: capacity
#
# Five exercises for the chapter [Capacity](../../chapters/10_capacity.ipynb): you count what extra layers cost and what float32 keeps of a sure answer, you find the temperature of a network, you train ten networks and ask three attacks about them, you break a network that knows every training image by heart, and you doubt a curve that rises.
# Run the cells from top to bottom. Each check says "ok", or gives you one hint. All of it runs on a laptop; the longest cell, which trains the ten networks, takes about half a minute. Time: 75 minutes.

# %%
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
from advlens.course import checks, plots, records, widgets

plots.use_style()

# %% [markdown]
# ## 1. By hand: more layers, surer answers
#
# **Layers.** LeNet ends with two dense layers, from 120 numbers to 84, and from 84 to 10. It has 61,706 parameters; 850 of them are in the last layer. Extra layers of 256 neurons, with biases, go before that last layer, which then reads 256 numbers.
#
# - `"first"`: the parameters of the first extra layer;
# - `"further"`: those of each further one;
# - `"five"`: those of the whole LeNet with five extra layers.
#
# **Sure answers.** Take two classes, and call the difference of their logits the gap $g$. The probability of the larger one is $p = 1 / (1 + e^{-g})$, and if that class is the right one, the slope of the cross-entropy along its logit is $-(1 - p)$. You need $e^{10} \approx 22{,}026$ and $e^{20} \approx 4.85 \cdot 10^8$.
#
# - `"slope 10"`: the factor $1 - p$ for the gap 10, to two digits;
# - `"slope 20"`: the same for the gap 20;
# - `"stored 20"`: what is left of it for the gap 20 if $p$ is first stored in float32. The largest number of float32 below 1 is about $1 - 6 \cdot 10^{-8}$.
#
# **A temperature.** On three images a network has the gaps 8, 20 and 50. You divide all its logits by one number, so that the *median* gap becomes 1.
#
# - `"temperature"`: that number;
# - `"after"`: the factor $1 - p$ of the image whose gap was 8, after the division ($e^{0.4} \approx 1.49$).

# %% nbgrader={"grade": false, "grade_id": "warmup", "locked": false, "schema_version": 3, "solution": true, "task": false}
def by_hand():
    """A dict with the eight keys above, a number for each."""
    ### BEGIN SOLUTION
    # 61,706 - 850 + 21,760 + 4 * 65,792 + 2,570; 1 - p = 1 / (1 + e^g)
    return {"first": 21_760, "further": 65_792, "five": 348_354, "slope 10": 4.5e-5, "slope 20": 2.1e-9,
            "stored 20": 0, "temperature": 20, "after": 0.40}
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "warmup-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.sure(by_hand)

# %% [markdown]
# ## 2. Code: the temperature of a network
#
# Write `my_temperature(model, x)` for images `x` (N, C, H, W). It returns two things:
#
# 1. the temperature $T$, one number for the whole network: the median over the images of the *gap*, the largest logit minus the second largest (the chapter's lead);
# 2. the logits of all images divided by $T$, (N, classes). Their median gap is 1, and every answer is the same as before.
#
# The probabilities of `model` mean something in evaluation mode only, so switch to it, and give the model back in the mode in which it came. Its weights stay as they are. (`topk(2, dim=1)` finds the two largest.)

# %% nbgrader={"grade": false, "grade_id": "temperature", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_temperature(model, x):
    ### BEGIN SOLUTION
    was = model.training
    model.eval()
    with torch.no_grad():
        logits = model(x)
    model.train(was)
    largest, second = logits.topk(2, dim=1).values.T
    divisor = (largest - second).median().item()
    return divisor, logits / divisor
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "code-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.temperature(my_temperature)

# %% [markdown]
# Your number goes behind LeNet as one more layer. Three networks that give the same answer to every image now meet the same attack, one step along the *naive* cross-entropy: LeNet as it is, LeNet with its logits multiplied by 20, and LeNet divided by its temperature. (What do you expect of the fourth, with its logits multiplied by 20 and then divided by the new temperature?)
#
# ![Three curves of accuracy against eps. With logits multiplied by 20 it stays near the top; LeNet as it is falls and flattens; divided by its temperature it falls to a few per cent.](expected/10_code.png)

# %% expected="10_code"
from advlens.layers import Scale

digits = data.load("digits", "test")[:100]
lenet = zoo.pretrained("lenet", "digits")
T, calm = my_temperature(lenet, digits.images)
kept = int((calm.argmax(1) == lenet(digits.images).argmax(1)).sum())
print(f"temperature {T:.1f}; {kept} of 100 answers stay")
ax = plots.axes()
for name, factor, line in (("logits x 20", 20.0, ":"), ("as it is", 1.0, "--"), ("logits / T", 1 / T, "-")):
    net, shares = torch.nn.Sequential(lenet, Scale(factor)), []
    for eps in (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3):
        images = attacks.fgsm(net, digits.images, digits.labels, eps=eps, loss="naive_ce")
        right = evaluation.logits(lenet, images).argmax(1) == digits.labels
        shares.append(right.float().mean().item())
    ax.plot([0.05 * k for k in range(7)], shares, line, marker="o", label=name)
ax.set(xlabel="eps", ylabel="accuracy under FGSM, naive", ylim=(0, 1))
plots.percent(ax)
ax.legend(loc="upper right", bbox_to_anchor=(1, 0.85))
plots.finish(ax, digits.source)

# %% nbgrader={"grade": true, "grade_id": "code-hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# When this sheet is graded, your function also meets colour images.
### BEGIN HIDDEN TESTS
from advlens.course import checks
checks.ch10.temperature_in_colour(my_temperature)
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Measurement: two epochs or twenty
#
# The chapter trains LeNets. Here are fully connected networks with sigmoids, on the embedded digits. `checks.trained(epochs, seed)` gives you one after that many epochs (Adam with learning rate 0.005, batches of 64, no augmentation). It is trained when you ask for it first, and then kept.
#
# Take 2 and 20 epochs, each with the seeds 0 to 4, all test digits, and `eps = 0.15`. The cell below holds three attacks: a step along the naive cross-entropy, a step along the margin, and forty steps along the margin. Before you start, guess: will the networks of 20 epochs look safer under the first? And under the other two?
#
# - `left[name]`: `{2: [five shares], 20: [five shares]}`, the share of the test digits that is still answered right, in the order of the seeds;
# - `rises[name]`: in how many of the five trainings the share is larger after 20 epochs than after 2;
# - `conclusion`: what do the fifteen pairs say about these networks?
#   - a: Twenty epochs make them safer: the accuracy under attack rises with the training.
#   - b: Twenty epochs make them so sure that the naive cross-entropy loses its slope in float32. Along the margin one step finds what was hidden, and the rise is gone.
#   - c: The loss is not what decides here. One step says "safer" along either loss, and forty steps do not confirm it.

# %% nbgrader={"grade": false, "grade_id": "measurement", "locked": false, "schema_version": 3, "solution": true, "task": false}
digits = data.load("digits", "test")
x, y = digits.images, digits.labels
start = lambda: torch.Generator().manual_seed(0)
attack = {
    "FGSM, naive": lambda net: attacks.fgsm(net, x, y, eps=0.15, loss="naive_ce"),
    "FGSM, margin": lambda net: attacks.fgsm(net, x, y, eps=0.15, loss="margin"),
    "PGD, margin": lambda net: attacks.pgd(net, x, y, eps=0.15, loss="margin",
                                           generator=start()),
}

left = {name: {2: [None] * 5, 20: [None] * 5} for name in attack}
rises = {name: None for name in attack}
conclusion = None

### BEGIN SOLUTION
for name in attack:
    for epochs in (2, 20):
        for seed in range(5):
            network = checks.trained(epochs, seed)
            stands = evaluation.logits(network, attack[name](network)).argmax(1) == y
            left[name][epochs][seed] = stands.float().mean().item()
    rises[name] = sum(late > early for early, late in zip(left[name][2], left[name][20]))
conclusion = "c"
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "measurement-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.trainings(left, rises)

# %% [markdown]
# One line for each training, from 2 to 20 epochs. Was your guess right?
#
# ![Three panels with five lines each, from 2 to 20 epochs. All lines rise in the two panels of FGSM. All lines fall in the panel of PGD.](expected/10_measurement.png)

# %% expected="10_measurement"
axes = plots.axes(3, sharey=True)
for ax, name in zip(axes, left):
    for pair in zip(left[name][2], left[name][20]):
        ax.plot([0, 1], pair, marker="o", color=plots.colour(name[:4].strip(",").lower()))
    ax.set(title=name, xlabel="epochs", xlim=(-0.3, 1.3), ylim=(0, 0.5))
    ax.set_xticks([0, 1], ["2", "20"])
    plots.percent(ax)
axes[0].set(ylabel="accuracy under attack")
plots.finish(axes, digits.source)

# %% nbgrader={"grade": true, "grade_id": "measurement-hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# Which letter is right is decided when the sheet is graded.
assert conclusion in ("a", "b", "c")
### BEGIN HIDDEN TESTS
assert conclusion != "a", "one step leaves more, but look at what forty steps leave of the same networks"
assert conclusion == "c", "compare the two panels of one step: does the rise go away with the other loss?"
### END HIDDEN TESTS

# %% [markdown]
# ## 4. Break it: a network that remembers
#
# `checks.Memory()` has one hidden unit for each of the 1,437 training digits, with a weight for each of its 784 pixels: 1,126,608 weights, learnt by heart. Its makers say: *it classifies every training image right, it is always sure, and with `eps = 0.2` it keeps what it had. So much capacity leaves an attack no room.* Like many services, it answers with probabilities. For users who find it too sure there is a knob, `model.temperature`, 1 at first; the makers say that it changes no answer. The next cell repeats their evaluation. Opening the source is cheating yourself.

# %%
digits = data.load("digits", "test")[100:150]
x, y = digits.images, digits.labels
model = checks.Memory().eval()
for name, attack in (("FGSM", attacks.fgsm), ("PGD", attacks.pgd)):
    wrong = evaluation.logits(model, attack(model, x, y, eps=0.2, loss="naive_ce")).argmax(1) != y
    print(f"{name}: {int(wrong.sum())} of 50 wrong")
print(f"no attack: {int((evaluation.logits(model, x).argmax(1) != y).sum())} of 50 wrong")

# %% [markdown]
# Make fifty images, `broken`: each within 0.2 of its digit in every pixel, all pixels in [0, 1], and at least **forty-five** of them answered wrongly, with the knob at 1. You may turn the knob while you search, and wrap the model in a module of your own. (Attacks want finite logits: $\log 0$ is not.) Say also
#
# - `hides`: what keeps the makers' attacks from finding anything?
#   - a: nothing; who knows all images by heart has no adversarial examples.
#   - b: the network rounds its pixels, so no loss of whatever kind has a slope.
#   - c: its probabilities are exactly 0 and 1 in float32, so a loss made of them is flat, whichever loss it is.
#   - d: it draws at random in each pass.

# %% nbgrader={"grade": false, "grade_id": "transfer", "locked": false, "schema_version": 3, "solution": true, "task": false}
digits = data.load("digits", "test")[100:150]
x, y = digits.images, digits.labels
model = checks.Memory().eval()

broken = None
hides = None

### BEGIN SOLUTION
class Logarithm(torch.nn.Module):
    """log p is a logit minus a number that all classes share, and no gap feels that number."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, images):
        return self.inner(images).log()

# The probabilities are all 0 or 1. Turned far up, none is 0, and the margin has the same direction at every temperature.
model.temperature = 1000.0
broken = attacks.pgd(Logarithm(model), x, y, eps=0.2, loss="margin", generator=torch.Generator().manual_seed(0))
hides = "c"
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "transfer-check", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
checks.memory(broken)

# %% nbgrader={"grade": true, "grade_id": "transfer-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
# Which letter is right is decided when the sheet is graded.
assert hides in ("a", "b", "c", "d")
### BEGIN HIDDEN TESTS
assert hides == "c", "print model(x[:2]) with the knob at 1 and with the knob turned up: what is different?"
### END HIDDEN TESTS

# %% [markdown]
# ## 5. Thought: a curve that rises
#
# A colleague sends you this (invented) abstract, and is impressed:
#
# > *We train one network of each depth, with 2 to 40 layers, on the same images, for ten epochs. Under FGSM with the cross-entropy and $\varepsilon = 0.2$ the accuracy rises from 12 % with 2 layers to 61 % with 20. With 40 layers it is 10 %, and it is 10 % without an attack as well, so this is the one network that an attack cannot harm. We conclude that depth makes networks robust.*
#
# Answer in at most fifteen lines. Name four things, each of which alone could draw such a curve, or a part of it, without any gain in robustness. For each, say which measurement would show it, and what its outcome would mean. What may the authors write if all four come out in their favour?

# %% [markdown] nbgrader={"grade": true, "grade_id": "thought", "locked": false, "points": 6, "schema_version": 3, "solution": true, "task": false}
# **Model answer.** (1) *A masked gradient.* Deeper networks may have larger logits; the naive cross-entropy then loses its slope in float32, and FGSM stands still. Measure: the median gap of the logits and the share of zero gradients for each depth; the same curve along the log-odds or the margin, or with the logits divided by a temperature, which changes no answer. If the rise goes away, it belonged to the loss. (2) *One step.* Also along a good loss one step may miss what many find, if the loss is more curved in deeper networks. Measure: PGD with restarts, the strongest attack, an attack without gradients, and success at larger budgets. If one step leaves much more than forty, the curve shows the weakness of the step. (3) *One training of each depth.* Another seed may give another order. Measure: five seeds of each, all shown, the difference for each pair. If the seeds of one depth lie as far apart as the depths, nothing was seen. (4) *Clean accuracy.* If the 2 layers are still half trained after ten epochs, fewer images can stand an attack at all. Measure: accuracy without an attack for every depth, the share of right images that fall, and training until the loss is equally small. (5) *The 40 layers have not learnt.* Ten per cent is chance with ten classes: the network says the same to every image. It cannot be harmed because there is nothing to lose; that is no robustness. Measure: training accuracy, and how many different answers it gives. It should leave the curve, or be marked. (6) A network with more layers also has more parameters and more computation in ten epochs: depth is not the only thing that changes. If everything comes out in their favour: "of the networks that we trained, with this recipe, on these images, at this budget, the deeper ones kept more under the attacks that we tried". That is an upper limit for each of them, and nothing about depth as a cause.
#
# **Marking guide.** 1 point: logits and the masked gradient, with a measurement that tells (other loss, rescaled logits, share of zeros). 1 point: one step, with a stronger attack. 1 point: seeds, at least five and all shown. 1 point: clean accuracy, or networks trained to a different degree. 1 point: the 40 layers did not train; 10 % is chance and no robustness. 1 point: an outcome for each measurement, or a conclusion no wider than these networks, this recipe and these attacks. A list of attacks without what their outcome would mean gives at most 4 points.
