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
# # Exercises: local learning
#
# Five exercises for the chapter [Local learning](../../chapters/11_local_learning.ipynb): you change synapses with a pencil, you write units that share the work, you ask how long a step should be, you teach a neuron something that nobody wanted it to learn, and you answer a claim about brains.
# Run the cells from top to bottom. Each check says "ok", or gives you one hint. All of it runs on a laptop; the longest cell takes about ten seconds. Time: 75 minutes.

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
# ## 1. By hand: what a synapse does
#
# **Two rules.** A neuron has two inputs $x = (x_1, x_2)$ and the weights $w = (1, 0)$. Its answer is $y = w \cdot x = w_1 x_1 + w_2 x_2$. It sees first the input $(1, 1)$, then the input $(2, 0)$, and changes its weights after each, with $\eta = \tfrac12$:
#
# $$\text{Hebb:}\quad w \leftarrow w + \eta\, y\, x$$
#
# $$\text{Oja:}\quad w \leftarrow w + \eta\, y\, (x - y\, w)$$
#
# - `"Hebb"`: the weights after the first and after the second step, a list of two pairs;
# - `"Oja"`: the same for Oja's rule, from $(1, 0)$ again;
# - `"rest"`: now $(3, 4)$ is the only input, again and again, and $\eta$ is small. Where do the weights come to rest under Oja's rule, if they begin at $(1, 0)$?
#
# **A threshold that slides.** Under BCM the weights change by $\eta\, \varphi(y)\, x$ with $\varphi(y) = y\,(y - \theta)$. After each answer the threshold $\theta$ moves half of the way towards $y^2$. It begins at $\theta = 1$. The inputs are such that the answer is $y = 2$ three times in a row.
#
# - `"BCM"`: $\varphi(y)$ at the three answers.
#
# **Two pairs of spikes.** The change of a synapse under STDP depends on $\Delta t$, the time of the postsynaptic spike minus the time of the presynaptic one:
#
# $$\Delta w = \begin{cases} e^{-\Delta t / 17\,\text{ms}} & \text{for } \Delta t > 0, \\ -0.5\; e^{\Delta t / 34\,\text{ms}} & \text{for } \Delta t < 0. \end{cases}$$
#
# In the first pair the presynaptic spike comes at 10 ms and the postsynaptic one at 27 ms. In the second pair they come at 60 ms and at 26 ms. You need $e^{-1} \approx 0.37$.
#
# - `"STDP"`: the two changes.

# %% nbgrader={"grade": false, "grade_id": "warmup", "locked": false, "schema_version": 3, "solution": true, "task": false}
def by_hand():
    """A dict with the five keys above, a list for each."""
    ### BEGIN SOLUTION
    # Oja, second step: y = 2, and (2, 0) - 2 (1, 0.5) = (0, -1). At rest x = y w: w points along x, with length 1.
    # The threshold is 1, then 2.5, then 3.25.
    return {"Hebb": [[1.5, 0.5], [4.5, 0.5]], "Oja": [[1, 0.5], [1, -0.5]], "rest": [0.6, 0.8],
            "BCM": [2, -1, -2.5], "STDP": [0.37, -0.185]}
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "warmup-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.plasticity(by_hand)

# %% [markdown]
# ## 2. Code: units that share the work
#
# Several neurons that follow Oja's rule, each on its own, all learn the same. Here is a rule, proposed by Terence Sanger in 1989, with which each finds something that those before it have left over. Unit $i$ has the weights $w_i$, the answer to an input $x$ is $y_i = w_i \cdot x$, and for one input the change is
#
# $$\Delta w_i = \eta\; y_i \Big( x - \sum_{j \le i} y_j\, w_j \Big) .$$
#
# The first unit has $j = 1$ alone, which is Oja's rule. The second one learns from what the first one leaves over, and so on.
#
# Write `my_units(w, x, eta)` for weights `w` (K, D), one row for each unit, and a batch of inputs `x` (N, D). It returns the new weights (K, D), after **one** step: the **mean** of $\Delta w_i$ over the $N$ inputs, added to the weights. All answers and all changes belong to the weights that came in. `w` and `x` stay as they were, and `x` is taken as it comes: whoever wants it centred does that before.
#
# A loop over the units is fine; a loop over the examples would take minutes further down. (Without any loop, `torch.tril` helps.) With torch alone, please: the rules of `advlens.hebbian` are closed here.

# %% nbgrader={"grade": false, "grade_id": "units", "locked": false, "schema_version": 3, "solution": true, "task": false}
def my_units(w, x, eta):
    ### BEGIN SOLUTION
    y = x @ w.T  # (N, K)
    grows = y.T @ x / len(x)
    taken = torch.tril(y.T @ y) @ w / len(x)  # row i holds the products y_i y_j with j <= i
    return w + eta * (grows - taken)
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "code-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.sanger(my_units)

# %% [markdown]
# Show your units all training digits, centred, two hundred times. The first row is what four of them learn that do not know of each other, the second what they learn together, the third what linear algebra calls the first four components. (A component may come with the opposite sign: the two colours are then exchanged.)
#
# ![Three rows of four pictures in two colours. First row: four times the same picture, up to its sign. Second row: four different pictures. Third row: the four pictures of the second row, up to their signs.](expected/11_code.png)

# %% expected="11_code"
digits = data.load("digits")
x = digits.images.flatten(1)
x = x - x.mean(0)
together = torch.randn(4, 784, generator=torch.Generator().manual_seed(0)) / 28
alone = list(together.split(1))  # four layers of one unit each
for _ in range(200):
    together = my_units(together, x, 0.08)
    alone = [my_units(unit, x, 0.08) for unit in alone]
components = torch.linalg.svd(x, full_matrices=False)[2][:4]
draw = lambda rows: [plots.noise(row.view(1, 28, 28), limit=0.12) for row in rows]
plots.grid([draw(torch.cat(alone)), draw(together), draw(components)],
           heads=["1", "2", "3", "4"], rows=["each alone", "together", "components"],
           source=digits.source)

# %% nbgrader={"grade": true, "grade_id": "code-hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# When this sheet is graded, your function also meets other sizes and other inputs.
### BEGIN HIDDEN TESTS
from advlens.course import checks
checks.ch11.sanger_elsewhere(my_units)
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Measurement: how long a step?
#
# One unit, one example after the other, as a synapse would see them: the 137 sevens among the training digits, centred, twenty times. The cell below holds them, their first component `v`, and `start(seed)`, which gives the first weights and the order of the examples.
#
# The step is given in units of one over the mean squared length of a seven: $\eta$ is `step[name](t) / size`. It may be small, large, or fall from the large one to nothing, where `t` is the share of the examples seen before, from 0 to 1.
#
# After each example, measure the cosine $|w \cdot v| / \lVert w \rVert$ between the weights and the first component (`v` has length 1). The bars are there because `-v` is the same component. For each step and for the seeds 0 to 4, fill in
#
# - `first[name]`: five numbers, after how many examples the cosine is above 0.99 for the first time;
# - `late[name]`: five numbers, the mean of the cosine over the last 137 examples.
#
# Before you start, guess: which of the three arrives first, and which one ends nearest? The large step is five times the small one; what does that do to the time, and what to the distance that is left, $1 - $ cosine? Then choose a `conclusion` (compare means over the five seeds):
#
# - a: The large step arrives about four times sooner, and from then on it stays above 0.99.
# - b: The large step arrives about four times sooner, and what is left in the last epoch is about five times as much as with the small one.
# - c: The large step arrives about four times sooner, and what is left in the last epoch is more than ten times as much. The falling step arrives as soon as the large one, and ends nearest.
# - d: The falling step arrives last, because it gets shorter and shorter; in the end it is nearest.

# %% nbgrader={"grade": false, "grade_id": "measurement", "locked": false, "schema_version": 3, "solution": true, "task": false}
digits = data.load("digits")
x = digits.images[digits.labels == 7].flatten(1)
x = x - x.mean(0)
v = torch.linalg.svd(x, full_matrices=False)[2][0]
size = x.square().sum(1).mean().item()
step = {"small": lambda t: 0.02, "large": lambda t: 0.1, "falling": lambda t: 0.1 * (1 - t)}

def start(seed):
    """The first weights (1, 784), and the order of the 2,740 examples: positions in x."""
    g = torch.Generator().manual_seed(seed)
    w = torch.nn.functional.normalize(torch.randn(1, 784, generator=g))
    return w, torch.cat([torch.randperm(len(x), generator=g) for _ in range(20)]).tolist()

first = {name: [None] * 5 for name in step}
late = {name: [None] * 5 for name in step}
conclusion = None

### BEGIN SOLUTION
for name in step:
    for seed in range(5):
        w, order = start(seed)
        cosines = []
        for seen, i in enumerate(order):
            w = my_units(w, x[i:i + 1], step[name](seen / len(order)) / size)
            cosines.append((w[0] @ v).abs() / w.norm())
        cosines = torch.stack(cosines)
        first[name][seed] = int((cosines > 0.99).nonzero()[0]) + 1
        late[name][seed] = cosines[-137:].mean().item()
conclusion = "c"
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "measurement-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.three_steps(first, late)

# %% [markdown]
# One mark for each seed. Was your guess right?
#
# ![Fifteen marks: examples until the cosine passes 0.99, against the mean cosine in the last epoch. The large step: few examples, and the lowest marks. The small step: many examples, higher marks. The falling step: few examples, and the highest marks.](expected/11_measurement.png)

# %% expected="11_measurement"
ax = plots.axes()
for name, marker in zip(step, "os^"):
    ax.plot(first[name], late[name], marker, label=name, alpha=0.8)
ax.axhline(0.99, linestyle=":", color="0.5")
ax.set(xlabel="examples until the cosine passes 0.99", ylabel="mean cosine, last epoch",
       xlim=(0, None), ylim=(0.975, 1.002))
ax.legend(title="step", loc="lower right")
plots.finish(ax, digits.source)

# %% nbgrader={"grade": true, "grade_id": "measurement-hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# Which letter is right is decided when the sheet is graded.
assert conclusion in ("a", "b", "c", "d")
### BEGIN HIDDEN TESTS
assert conclusion != "a", "compare `late` of the large step with 0.99: does it stay there?"
assert conclusion != "b", "divide 1 - late of the large step by that of the small one"
assert conclusion == "c", "compare `first` of the three steps"
### END HIDDEN TESTS

# %% [markdown]
# ## 4. Break it: three images too many
#
# A neuron is to learn what matters in a pile of threes: 147 images, without labels, by Oja's rule. Nobody looks at the pile before. You may slip in **at most three** images of your own, with pixels in [0, 1]. Can you make the neuron learn this face instead?

# %%
from advlens import hebbian

digits = data.load("digits")
threes = digits.images[digits.labels == 3]
face = checks.face()

def learnt(images, seed=0):
    """What a neuron learns by Oja's rule, with a step that falls: weights (1, 28, 28)."""
    x = images.flatten(1)
    generator = torch.Generator().manual_seed(seed)
    return hebbian.first_component(x - x.mean(0), generator=generator).view(1, 28, 28)

weights = [learnt(images) for images in (threes, torch.cat([threes, face]))]
pictures = [plots.image(face[0]), plots.image(threes.mean(0)),
            *[plots.noise(w, limit=0.15) for w in weights]]
heads = ["the face", "mean of the threes", "learnt from threes", "with one face added"]
plots.grid([pictures], heads=heads, source=digits.source)

# %% [markdown]
# One face goes under among so many threes. Give your images as `added` (N, 1, 28, 28), N at most 3. The check takes the first component of the 150 centred images, where Oja's rule comes to rest, and asks for a cosine of at least **0.9** with the face. (`learnt(torch.cat([threes, added]))` shows you what the neuron makes of them.) Say also
#
# - `why`: how can so few images outvote 147 others?
#   - a: The rule takes the last images it sees more seriously than the first.
#   - b: What counts is the variance along a direction, a sum of squares. A few images that are far from the mean, all on the same side, weigh more than many that are near it.
#   - c: The neuron counts how often a pixel is white, and in the face more pixels are white than in a three.
#   - d: Oja's rule without labels cannot learn from threes at all, so anything can push it away.

# %% nbgrader={"grade": false, "grade_id": "transfer", "locked": false, "schema_version": 3, "solution": true, "task": false}
digits = data.load("digits")
threes = digits.images[digits.labels == 3]
face = checks.face()

added = None
why = None

### BEGIN SOLUTION
# Three copies of the face come to 0.81: less the mean, they also hold the mean three, with the wrong sign.
# So: the mean three, and on top of it the face in white. What differs from the mean is then the face alone.
added = torch.maximum(threes.mean(0), face).expand(3, -1, -1, -1)
why = "b"
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "transfer-check", "locked": true, "points": 4, "schema_version": 3, "solution": false, "task": false}
checks.taught(added)

# %% nbgrader={"grade": true, "grade_id": "transfer-hidden", "locked": true, "points": 1, "schema_version": 3, "solution": false, "task": false}
# Which letter is right is decided when the sheet is graded.
assert why in ("a", "b", "c", "d")
### BEGIN HIDDEN TESTS
assert why == "b", "what does Oja's rule look for, and what do three grey faces, half as far from the mean, do to it?"
### END HIDDEN TESTS

# %% [markdown]
# ## 5. Thought: because the brain does it
#
# You read this (invented) press release:
#
# > *Our vision system learns with local rules only, as the brain does. Brains are not fooled by adversarial noise, therefore networks that use the rules of the brain are robust. Tests confirm it: with $\varepsilon = 0.1$ in the $\ell_\infty$ norm, FGSM leaves an ordinary network 20 % of its accuracy, and our network 85 %. And since the first layer never sees a label, an attacker has nothing to turn against it.*
#
# Answer in at most fifteen lines. What does "local" mean, and which of the rules that you met are local? At which level is "as the brain does" true, and where is it not? Does robustness follow from locality? What do the two numbers show, and what don't they? Describe the experiment that would decide, and say what each of its outcomes would mean.

# %% [markdown] nbgrader={"grade": true, "grade_id": "thought", "locked": false, "points": 6, "schema_version": 3, "solution": true, "task": false}
# **Model answer.** (1) *Local* says what a synapse may use for its change: the activity before it, the activity behind it, its own weight, perhaps a signal that all synapses share. Hebb, CLO, BCM, STDP and Oja for one unit are local in this sense. Sanger's rule of exercise 2 is so only in part: unit $i$ needs the answers *and the weights* of the units before it, or somebody must carry what they leave over to its inputs. That a rule is local says nothing about what it computes. (2) *As the brain does* is true of the form of some rules: synapses that grow or shrink with the activity on both sides, or with the order of spikes, have been measured. It is not true of the whole: rates in place of spikes, one kind of neuron, weights of either sign, inputs that somebody has centred, a step that somebody lets fall, a last layer that is trained by backpropagation from labels. And that something holds for a description of a synapse does not make it hold for a network. (3) *Therefore* does not follow. How robust people are is another question, and depends on the time and the budget that they get; if they are, it may come from eyes that move, from feedback, or from many years of pictures. Exercise 4 is a counter-example for one rule: three images in 150 turned the weights of a neuron that learns locally. No label was needed, because a rule without labels trusts the inputs themselves; and somebody who attacks at test time does not need labels in the first layer either, only the gradient of the whole network, or its answers. (4) *The numbers:* one attack, one step, one budget, and one network of each kind as it seems. Share of what: accuracy kept, but from which clean accuracy? Does the gradient vanish in the local network, so that FGSM stands still? Are size, activation, preprocessing and training data the same? (5) *What would decide:* two networks that differ in the learning rule of the first layer and in nothing else, five trainings of each, the same images, clean accuracy beside it, the strongest attack that we have with the signs of a masked gradient checked (transfer, attacks without gradients, larger budgets), and also the same layer with its weights frozen at random, to see whether it is the rule or the frozen layer. If the local networks keep more in every pair, "this rule in this network helped on these images against these attacks" may be written. If the gap closes, it belonged to the attack. If the random layer does as well, it did not come from the rule.
#
# **Marking guide.** 1 point: what local means, with one rule that is and a reason why Sanger's is not quite, or why backpropagation is not. 1 point: the level of the description: a rule for a synapse, and what of the system is not like a brain. 1 point: robustness does not follow from locality and is an empirical question, or the poisoned neuron as a counter-example. 1 point: what was tested: one step, one budget, a gradient that may be masked, labels that an attacker does not need. 1 point: an experiment in which only the rule differs, with several trainings and a strong attack. 1 point: what each outcome would mean. An answer that only says "brains are different" gives at most 2 points.
