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
# # Exercises: networks
#
# Five exercises for the chapter [Networks](../../chapters/02_networks.ipynb), from a pencil to a judgement: a network with two neurons, backpropagation in code, a table in which one row cannot be right, a network with a silenced kernel, and a gap to explain.
# Run the cells from top to bottom. Each check says "ok", or gives you one hint. All of it runs on a laptop in seconds.

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
# ## 1. Warm-up: two neurons
#
# A network of two pixels, two hidden neurons and one output:
#
# $$h = \mathrm{ReLU}(W x + b), \qquad z = v \cdot h - 1,$$
#
# $$W = \begin{pmatrix} 2 & -1 \\ -2 & 3 \end{pmatrix}, \quad b = (0, -1), \quad v = (2, 4).$$
#
# Take a pencil. The image is $x = (1,\ 0.5)$. Go forwards, then follow the blame backwards. Return a dict with
#
# - `"hidden"`: the two numbers $h$;
# - `"output"`: the number $z$;
# - `"slopes"`: how fast $z$ grows with pixel 1 and with pixel 2, two numbers. (The ReLU has slope 1 where its input is positive, else 0.)

# %% nbgrader={"grade": false, "grade_id": "warmup", "locked": false, "schema_version": 3, "solution": true, "task": false}
def by_hand():
    """{"hidden": [., .], "output": ., "slopes": [., .]}"""
    ### BEGIN SOLUTION
    # W x + b = (1.5, -1.5); the second neuron is off, so only 2 * (2, -1) comes back
    return {"hidden": [1.5, 0.0], "output": 2.0, "slopes": [4.0, -2.0]}
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "warmup-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.two_neurons(by_hand)

# %% [markdown]
# ## 2. Code: four equations
#
# A network with two layers of sigmoids, for a batch of N inputs:
#
# $$a_1 = \sigma(x W_1^\top + b_1), \qquad a_2 = \sigma(a_1 W_2^\top + b_2)$$
#
# Its cost is the squared error, summed over the batch:
#
# $$C = \sum \lVert a_2 - y \rVert^2$$
#
# Write `gradients(W1, b1, W2, b2, x, y)`. It returns the gradients of $C$ with respect to $W_1, b_1, W_2, b_2$, in this order, by the four equations of the chapter and *without* autograd.
#
# - `x` is (N, inputs) and `y` is (N, outputs): one row for each sample. `W1` is (hidden, inputs), `W2` is (outputs, hidden).
# - Each gradient has the shape of its parameter, and is summed over the batch.

# %% nbgrader={"grade": false, "grade_id": "gradients", "locked": false, "schema_version": 3, "solution": true, "task": false}
def gradients(W1, b1, W2, b2, x, y):
    ### BEGIN SOLUTION
    a1 = torch.sigmoid(x @ W1.T + b1)
    a2 = torch.sigmoid(a1 @ W2.T + b2)
    delta2 = 2 * (a2 - y) * a2 * (1 - a2)
    delta1 = (delta2 @ W2) * a1 * (1 - a1)
    return delta1.T @ x, delta1.sum(0), delta2.T @ a1, delta2.sum(0)
    ### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "code-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.gradients(gradients)

# %% [markdown]
# With right gradients the little net learns the exclusive or: the cost goes down like this.
#
# ![A falling curve: the cost of the little network drops at once, rests for a while, and then falls to nearly zero.](expected/02_code.png)

# %% expected="02_code"
x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
y = torch.tensor([[0.0], [1.0], [1.0], [0.0]])
generator = torch.Generator().manual_seed(1)
shapes = ((4, 2), (4,), (1, 4), (1,))
net = [2 * torch.randn(shape, generator=generator) for shape in shapes]
cost = []
for step in range(600):
    a2 = torch.sigmoid(torch.sigmoid(x @ net[0].T + net[1]) @ net[2].T + net[3])
    cost.append((a2 - y).square().sum().item())
    net = [p - 0.5 * g for p, g in zip(net, gradients(*net, x, y))]
ax = plots.axes()
ax.plot(cost)
ax.set(xlabel="step", ylabel="cost")
plots.finish(ax, "the four rows of the exclusive or")

# %% nbgrader={"grade": true, "grade_id": "code-hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# When this sheet is graded, your function also meets networks of other sizes.
### BEGIN HIDDEN TESTS
from advlens.course import checks
generator = torch.Generator().manual_seed(7)
shapes = ((6, 5), (6,), (3, 6), (3,), (9, 5), (9, 3))
values = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
leaves = [v.clone().requires_grad_() for v in values[:4]]
out = torch.sigmoid(torch.sigmoid(values[4] @ leaves[0].T + leaves[1]) @ leaves[2].T + leaves[3])
right = torch.autograd.grad((out - values[5]).square().sum(), leaves)
for name, yours, true in zip(("W1", "b1", "W2", "b2"), gradients(*values), right):
    assert checks.hint.close(yours, true), f"the gradient of {name} is wrong for a net with 5 inputs, 6 hidden and 3 output neurons"
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Measurement: when is LeNet a million?
#
# `models.LeNet(n)` has `n` extra dense layers of 256 neurons. A report prints this table:
#
# | extra layers | 0 | 2 | 4 | 6 | 10 | 20 |
# |---|---|---|---|---|---|---|
# | parameters | 61,706 | 150,978 | 282,562 | 414,146 | 743,106 | 1,335,234 |
#
# One of its rows cannot be right. Fill in
#
# - `parameters`: a list of 21 numbers, the parameters of `models.LeNet(n)` for n = 0 to 20 (all its numbers that are trained, weights and biases);
# - `first`: the smallest n with more than 1,000,000 parameters;
# - `wrong`: the number of extra layers in the row that is wrong;
# - `really`: the number of extra layers that its count belongs to.

# %% nbgrader={"grade": false, "grade_id": "measurement", "locked": false, "schema_version": 3, "solution": true, "task": false}
parameters = None
first = None
wrong, really = None, None

### BEGIN SOLUTION
parameters = [sum(p.numel() for p in models.LeNet(n).parameters()) for n in range(21)]
first = next(n for n, count in enumerate(parameters) if count > 1_000_000)
printed = {0: 61_706, 2: 150_978, 4: 282_562, 6: 414_146, 10: 743_106, 20: 1_335_234}
wrong = next(n for n, count in printed.items() if parameters[n] != count)
really = parameters.index(printed[wrong])
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "measurement-check", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
checks.one_million(parameters, first)

# %% [markdown]
# Your counts, and the million as a line:
#
# ![Points that climb along a straight line from left to right, and a dashed horizontal line at one million that they cross.](expected/02_measurement.png)

# %% expected="02_measurement"
ax = plots.axes()
ax.plot(range(21), parameters, "o")
ax.axhline(1_000_000, color=plots.GREY, linestyle="--")
ax.set(xlabel="extra layers n", ylabel="parameters", xticks=range(0, 21, 5))
ax.yaxis.set_major_formatter("{x:,.0f}")
plots.finish(ax, "models.LeNet(n), counted")

# %% nbgrader={"grade": true, "grade_id": "measurement-hidden", "locked": true, "points": 2, "schema_version": 3, "solution": false, "task": false}
# Whether you found the wrong row is decided when the sheet is graded.
assert wrong in (0, 2, 4, 6, 10, 20) and really in range(21)
### BEGIN HIDDEN TESTS
assert wrong == 10, "the sizes climb in equal steps from one extra layer on: one row does not fit"
assert really == 11, "look for the count of that row among your own"
### END HIDDEN TESTS

# %% [markdown]
# ## 4. Break it: a silenced kernel
#
# LeNet's first layer asks six questions, one with each of its kernels. Which answer does it need most? Silence one kernel at a time: set its weights `net[1].weight[k]` and its bias `net[1].bias[k]` to zero. Each time begin with a fresh network, `zoo.pretrained("lenet", "digits")`, and measure with `evaluation.accuracy(net, digits).value`. Fill in
#
# - `accuracy`: six numbers, the accuracy on the test digits with kernel 0, 1, ..., 5 silenced;
# - `most`: the index of the kernel that LeNet misses most.
#
# (The answer is about this network. Another training of the same recipe has other kernels.)

# %% nbgrader={"grade": false, "grade_id": "transfer", "locked": false, "schema_version": 3, "solution": true, "task": false}
digits = data.load("digits", "test")
accuracy = None
most = None

### BEGIN SOLUTION
accuracy = []
for k in range(6):
    net = zoo.pretrained("lenet", "digits")
    net[1].weight[k] = 0
    net[1].bias[k] = 0
    accuracy.append(evaluation.accuracy(net, digits).value)
most = accuracy.index(min(accuracy))
### END SOLUTION

# %% nbgrader={"grade": true, "grade_id": "transfer-check", "locked": true, "points": 3, "schema_version": 3, "solution": false, "task": false}
checks.silenced(accuracy, most)

# %% [markdown]
# ## 5. Thought: sixteen points
#
# A network is right on 98 % of its training images, and on 82 % of the test images. "Overfitting", says your colleague, and adds dropout.
#
# Give three different explanations of the gap. For each, name one experiment that would tell it from the other two, and what you would see.

# %% [markdown] nbgrader={"grade": true, "grade_id": "thought", "locked": false, "points": 6, "schema_version": 3, "solution": true, "task": false}
# **Model answer.** Three of these, or others as good. (1) *Overfitting*: the net learned the training images by heart. Train on half of the images: the gap grows. Add augmentation or weight decay: training accuracy falls, test accuracy rises. Look at the history: the loss of a validation set taken from the training images turns upwards.
# (2) *Training and test images differ*: another camera, other people, another way of storing the images. Hold out a part of the *training* images: if the accuracy there is 98 % and only the test set is bad, it is the data and not the net. Or train a net to tell the two sets apart: it should fail if they are alike.
# (3) *The two numbers are measured differently*: test images without the normalisation, or the model in training mode, or training accuracy averaged over augmented images. Measure both again with the same function in evaluation mode; give it the training images as a "test set".
# (4) *Wrong labels in the test set*: read a hundred of the mistakes by eye. (5) *Chance*, if the test set is tiny: the confidence interval says so; with ten thousand images it cannot be sixteen points.
#
# **Marking guide.** 2 points for each explanation: 1 for an explanation that is different from the others, 1 for an experiment whose outcome really separates it, with the outcome named.
