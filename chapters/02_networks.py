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
# # Networks: LeNet, ResNet, VGG blocks
#
# The nets that this book fools are not black boxes.
# Each is a short chain of simple steps, every step is a handful of multiplications, and the rule by which all of them learn fits on one line.
# In this chapter we take four of them apart, count every number inside, do the learning step by hand, and find the first image that each gets wrong **without** anybody's help.
# Two sources wrote the learning rule down with a slip, and one counted wrong: we will catch both with a few lines of code.
#
# :::{admonition} At a glance
# :class: glance
# - **You will be able to** read a table of parameters and recompute it; write the forward pass and the four backpropagation equations and test them; tell overfitting from learning on a curve; read a confusion matrix; say what a confidence is, and what it is not.
# - **Time** 60 minutes of reading and playing.
# - **Threat model** none. Nobody attacks in this chapter: it shows the nets as they are when the images are honest.
# - **Sources** {cite}`unam2021` for the three nets and their tables, {cite}`marinelli` for the VGG blocks and their overfitting, {cite}`belaustegui2022` for the equations.
# :::

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
from advlens.course import plots, records, widgets

plots.use_style()

# %%
import matplotlib.pyplot as plt
import torch.nn.functional as F

from advlens import training

mnist = data.load("mnist", "test", fallback="digits")
cifar = data.load("cifar10", "test", fallback="shapes")
lenet = zoo.pretrained("lenet", mnist.name)

# %% [markdown]
# ## What a layer does
#
# A **convolution** slides a small window over the picture.
# At every place it multiplies the pixels in the window by the numbers of a *kernel* $K$, adds them up, and adds a bias $b$:
#
# $$
# \text{out}(i, j) = b + \sum_{u, v} K(u, v)\; x(i + u,\; j + v).
# $$
#
# The kernel stays the same everywhere. So the layer asks *one* question, again and again, at every place: does the picture look like my kernel here?
# Here is a kernel that we choose ourselves. It is negative on the left and positive on the right, so it asks: does it get brighter from left to right?

# %%
digit = mnist.images[:1]  # (1, 1, 28, 28): one picture with one channel
edge = torch.tensor([[[[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]]])
response = F.conv2d(digit, edge, padding=1)  # (1, 1, 28, 28)

i, j = 10, 14  # one place, computed by hand
by_hand = (edge[0, 0] * digit[0, 0, i - 1:i + 2, j - 1:j + 2]).sum()
print("the same by hand:", torch.isclose(by_hand, response[0, 0, i, j]).item())

# %% mystnb={"image": {"alt": "Three panels. Left: a handwritten digit, white on black. Middle: the three by three kernel, blue on the left, orange on the right. Right: the response, orange along the left edges of the strokes and blue along the right edges."}, "figure": {"caption": "One convolution. Orange is positive, blue is negative, white is zero. The kernel answers with orange where the stroke begins and with blue where it ends; flat regions, black or white, give nothing.", "name": "fig-02-convolution"}} tags=["hide-input"]
fig, (left, middle, right) = plt.subplots(1, 3, figsize=(plots.WIDTH, 2.6), layout="constrained")
left.imshow(digit[0, 0], cmap="gray", vmin=0, vmax=1)
left.set_axis_off()
plots.noise(middle, edge[0])
plots.noise(right, response[0])
for ax, title in ((left, "picture x"), (middle, "kernel K"), (right, "response")):
    ax.set_title(title)
plots.finish(fig, mnist.source)

# %% [markdown]
# Nobody chooses the kernels of a trained net. LeNet has six of them in its first layer, and it found them by itself.
# They are less tidy than ours, and no two ask the same. But look at the answers: some light up along the edges of one direction, others respond to the ink itself.

# %%
kernels = lenet[1].weight.detach()  # (6, 1, 5, 5); lenet[0] is Normalize
with torch.no_grad():
    responses = lenet[1](lenet[0](digit))[0]  # (6, 28, 28)

# %% mystnb={"image": {"alt": "Two rows of six panels. Top: six learned kernels of five by five numbers, patches of orange and blue. Bottom: the digit as each of them sees it; strokes light up in orange and blue depending on their direction."}, "figure": {"caption": "The six kernels of LeNet's first layer, and what each answers for the digit above. Nobody drew them: training did.", "name": "fig-02-filters"}} tags=["hide-input"]
fig, axes = plt.subplots(2, 6, figsize=(plots.WIDTH, 2.9), layout="constrained")
for k, (top, bottom) in enumerate(axes.T):
    plots.noise(top, kernels[k], limit=kernels.abs().max().item())
    plots.noise(bottom, responses[k : k + 1], limit=responses.abs().max().item())
    top.set_title(f"kernel {k + 1}")
plots.finish(fig, mnist.source)

# %% [markdown]
# The other layers are even simpler.
# **ReLU** replaces negative numbers by zero. **Pooling** keeps the average or the largest of each little square, so the picture shrinks.
# **Batch normalisation** brings every channel to a common mean and spread.
# A **dense** layer multiplies everything by everything: $z = W a + b$.
# The last dense layer gives ten numbers, the *logits*, one per class. The largest one is the answer.
#
# ## Counting every number
#
# How large is a net? One can count, without running anything:
#
# | layer | numbers |
# |---|---|
# | convolution, $k \times k$, from $C$ to $D$ channels | $(k^2 C + 1)\, D$ |
# | dense, from $n$ to $m$ | $(n + 1)\, m$ |
# | batch normalisation of $C$ channels | $2C$ trained, $2C$ running means and variances that are not |
#
# The $+1$ is the bias. Pooling, ReLU, dropout and flattening store nothing.

# %% tags=["remove-input"]
widgets.predict(
    "LeNet has two convolutions and three dense layers. Where are most of its numbers?",
    {"In the first convolution": "It sees the whole picture, but it reuses the same six small kernels at every place. Sharing makes it the smallest layer of all.",
     "In the second convolution": "Larger than the first, because each kernel reaches through six channels. Still small: its kernels are shared too.",
     "In the first dense layer": "Yes. It joins every one of its inputs to every one of its outputs and shares nothing. One layer holds more than all others together.",
     "In the last dense layer": "It has only ten outputs, so it stays small."},
    answer="In the first dense layer")

# %% [markdown]
# The three tables of {cite:t}`unam2021`, printed by our own nets. First LeNet, which goes back to {cite:t}`lecun1998`. Dropout {cite}`srivastava2014` switches neurons off at random while the net learns:

# %% tags=["nbval-check-output"]
print(zoo.summary(models.LeNet()))

# %% [markdown]
# Then a small residual net {cite}`he2016`, with batch normalisation {cite}`ioffe2015`. Its two *identity blocks* compute $x + F(x)$: the block only has to learn what to change.

# %% tags=["nbval-check-output"]
print(zoo.summary(models.MnistResNet()))

# %% [markdown]
# And the net for colour pictures, three rounds of *convolution, batch normalisation, pooling*:

# %% tags=["nbval-check-output"]
print(zoo.summary(models.CifarNet()))

# %% [markdown]
# The VGG blocks of {cite:t}`marinelli`, after {cite:t}`simonyan2015`, are the same idea without batch normalisation.
# Now the formulas of the table above, against the nets:

# %% tags=["nbval-check-output"]
def conv(k, c, d): return (k * k * c + 1) * d
def dense(n, m): return (n + 1) * m
def norm(c): return 4 * c
pairs = [(3, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128)]  # channels
blocks = sum(conv(3, c, d) for c, d in pairs) + dense(2048, 128) + dense(128, 10)
formula = {
    "LeNet": conv(5, 1, 6) + conv(5, 6, 16) + dense(400, 120) + dense(120, 84)
             + dense(84, 10),
    "MnistResNet": conv(7, 1, 64) + norm(64) + 4 * (conv(3, 64, 64) + norm(64))
                   + dense(64, 10),
    "CifarNet": blocks + sum(norm(d) for _, d in pairs), "VggBlocks": blocks,
}
for name, expected in formula.items():
    counted = zoo.count(getattr(models, name)())["total"]
    print(f"{name:<12} formula {expected:>8,}   net {counted:>8,}")

# %% tags=["remove-input"]
def stored(net):
    found = zoo.count(net)
    return f"{found['total']:,}" + (f" ({found['trainable']:,} trainable)" if found["non-trainable"] else "")

display(records.verdict("How many numbers the three nets store", source="unam2021", verdict="confirmed",
                        reported="LeNet 61,706; residual net 152,842 (152,202 trainable); net for colour pictures 552,362 (551,466 trainable)",
                        measured=f"LeNet {stored(models.LeNet())}; residual net {stored(models.MnistResNet())}; net for colour pictures {stored(models.CifarNet())}",
                        why="Same layers, same formulas. Not trained are the running means and variances of batch normalisation."))
records.verdict("How many numbers the VGG blocks store", source="marinelli", verdict="confirmed", reported="550,570",
                measured=stored(models.VggBlocks()), why="Same layers, same formulas.")

# %% mystnb={"image": {"alt": "Four horizontal bars, one per net, each filled to one hundred percent. LeNet is almost all dense. The residual net is almost all convolution. CifarNet and VGG blocks are about half and half. Batch normalisation is a thin sliver."}, "figure": {"caption": "Where the numbers are. LeNet keeps nearly everything in dense layers; the residual net averages its picture away before the only dense layer and keeps nearly everything in convolutions.", "name": "fig-02-shares"}} tags=["hide-input"]
kinds = {"convolution": torch.nn.Conv2d, "batch normalisation": torch.nn.BatchNorm2d, "dense": torch.nn.Linear}
fig, ax = plt.subplots(figsize=(plots.WIDTH, 2.9), layout="constrained")
start = torch.zeros(len(formula))
nets = [getattr(models, name)() for name in formula]
for (kind, layer), colour, hatch in zip(kinds.items(), ("#0072B2", "#F0E442", "#E69F00"), ("", "", "//")):
    own = [sum(zoo.count(m)["total"] for m in net.modules() if isinstance(m, layer)) for net in nets]
    share = torch.tensor(own) / torch.tensor(list(formula.values()))
    ax.barh(list(formula), 100 * share, left=start, color=colour, hatch=hatch, edgecolor="white", label=kind)
    start = start + 100 * share
ax.invert_yaxis()
ax.set_xlabel("share of all numbers (%)")
ax.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
plots.finish(fig, "no data: counted on the architectures")

# %% [markdown]
# What we see: the two nets for digits are opposites. LeNet looks with few shared kernels and then weighs everything against everything; the residual net does nearly all its work while looking.
# In [chapter 03](03_one_step.ipynb) both meet the same attack.
#
# ### A table that cannot be right
#
# To study *overparameterisation*, {cite:t}`unam2021` puts $n$ extra dense layers of 256 neurons before the last layer of LeNet, and tables the sizes.
# Every further layer of that kind adds the same number, so the sizes must climb in equal steps. Do they?

# %% tags=["nbval-check-output"]
reported = {0: 61_706, 2: 150_978, 4: 282_562, 6: 414_146,
            10: 743_106, 20: 1_335_234}
print(f"one more layer adds {dense(256, 256):,}")
for n, source in reported.items():
    ours = zoo.count(models.LeNet(extra=n))["total"]
    mark = "same" if ours == source else "DIFFERS"
    print(f"{n:>3} extra layers: {ours:>10,}   source {source:>10,}   {mark}")
print(f" 11 extra layers: {zoo.count(models.LeNet(extra=11))['total']:>10,}")

# %% tags=["remove-input"]
ten, eleven = (zoo.count(models.LeNet(extra=n))["total"] for n in (10, 11))
records.verdict("LeNet with ten extra layers of 256", source="unam2021", reported=f"{reported[10]:,}", measured=f"{ten:,}", verdict="corrected",
                why=f"The reported number is exactly that of eleven extra layers ({eleven:,}). All other rows of the table agree. "
                    "Either one layer too many was built, or the row was labelled wrongly. Whether larger nets are harder to fool is another question, for a later chapter.")

# %% [markdown]
# ## The forward pass
#
# Forget pictures for a moment. A feed-forward net repeats one line:
#
# $$
# z^{l} = W^{l} a^{l-1} + b^{l}, \qquad a^{l} = \sigma(z^{l}), \qquad a^0 = x .
# $$
#
# We write it for a net so small that it can be followed with a pencil: two pixels, four hidden neurons, one output.
# Its task is *exactly one of the two pixels is bright*, the famous exclusive or, which no single layer can solve.
# The function $\sigma(z) = 1 / (1 + e^{-z})$ has the pleasant slope $\sigma' = \sigma (1 - \sigma)$.

# %%
x = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]]).double()  # two pixels each
y = torch.tensor([[0], [1], [1], [0]]).double()

def tiny_net(sizes=(2, 4, 1), seed=3):
    generator = torch.Generator().manual_seed(seed)
    W = [1.5 * torch.randn(n, m, generator=generator).double()
         for m, n in zip(sizes, sizes[1:])]
    return W, [torch.zeros(n).double() for n in sizes[1:]]

def forward(W, b, x):
    a = [x]  # a[l] is (N, neurons of layer l): one row per picture
    for W_l, b_l in zip(W, b):
        a.append(torch.sigmoid(a[-1] @ W_l.T + b_l))
    return a

# %% [markdown]
# ## Backpropagation: four equations
#
# How wrong is the net? We take the squared error, summed over the pictures: $C = \sum \lVert a^L - y \rVert^2$.
# To make $C$ smaller we need its slope with respect to every weight.
# The trick {cite}`rumelhart1986` is to follow one quantity backwards, the *error* $\delta^l = \partial C / \partial z^l$ of each layer ($\odot$ multiplies entry by entry):
#
# $$
# \begin{aligned}
# \delta^L &= 2\,(a^L - y) \odot \sigma'(z^L) & (1)\\
# \delta^{l} &= \big( (W^{l+1})^{\top} \delta^{l+1} \big) \odot \sigma'(z^{l}) & (2)\\
# \partial C / \partial b^l &= \delta^l & (3)\\
# \partial C / \partial W^l &= \delta^l\, (a^{l-1})^{\top} & (4)
# \end{aligned}
# $$
#
# In words: (1) how wrong is the output, and how willing is it to move? (2) Send the blame back through the same weights. (3), (4) Every weight is blamed for its share.
# In code it is hardly longer. Two switches let us reproduce what {cite:t}`belaustegui2022` prints: `sign = -1` for $\partial C / \partial a = 2\,(y - a)$, and `slope = False` for equation (2) without $\sigma'$.

# %%
def backpropagate(W, b, x, y, sign=1, slope=True):
    a = forward(W, b, x)
    delta = sign * 2 * (a[-1] - y) * a[-1] * (1 - a[-1])  # (1)
    gradients = []
    for l in reversed(range(len(W))):
        gradients.append((delta.T @ a[l], delta.sum(0)))  # (4), (3)
        delta = delta @ W[l]  # (2)
        if slope:
            delta = delta * a[l] * (1 - a[l])
    return gradients[::-1]

# %% [markdown]
# Is it right? Never believe a gradient that nobody tested.
# PyTorch's autograd knows nothing of our equations: it takes the forward pass apart step by step. If both agree to the last digits, both are right.

# %%
def by_autograd(W, b, x, y):
    both = [p.clone().requires_grad_() for pair in zip(W, b) for p in pair]
    cost = ((forward(both[::2], both[1::2], x)[-1] - y) ** 2).sum()
    return torch.autograd.grad(cost, both)

def largest_difference(ours, true):
    ours = [p for pair in ours for p in pair]
    return max((p - q).abs().max().item() for p, q in zip(ours, true))

# %%
W, b = tiny_net()
true = by_autograd(W, b, x, y)
versions = {"the four equations": {}, "sign of (1) turned": {"sign": -1},
            "(2) without slope": {"slope": False}}
difference = {name: largest_difference(backpropagate(W, b, x, y, **slip), true)
              for name, slip in versions.items()}
ROUNDING = 1e-15  # the last digit of a double: below it every processor has its own
for name, value in difference.items():
    shown = f"{value:.1e}" if value > ROUNDING else "rounding"
    print(f"{name:<20} largest difference from autograd: {shown}")

# %% tags=["remove-input"]
assert difference["the four equations"] < ROUNDING
records.say("The four equations agree with autograd to the last digits of a double: no entry differs by more than {right:g}. "
            "The largest entry of the true gradient is {largest:.2f}; with the sign turned we are off by up to {sign:.2f}, without the slope by up to {slope:.2f}.",
            right=ROUNDING, largest=max(p.abs().max().item() for p in true),
            sign=difference["sign of (1) turned"], slope=difference["(2) without slope"])

# %% [markdown]
# A wrong gradient gives no error message. What does it do to the learning? Think first:

# %% tags=["remove-input"]
widgets.predict(
    "We train the tiny net three times, from the same start: with the right equations, with the sign turned, and with equation (2) lacking its slope. What do the two wrong ones do?",
    {"Both learn, only more slowly": "A gradient need not be exact to be useful, true. But one of these two points uphill, and the other blames the hidden neurons without asking whether they can move.",
     "Turned sign: the error grows. Missing slope: it hardly learns": "Yes. Downhill became uphill. And without the slope the hidden layer receives errors that are several times too large, and pushes its neurons to where they no longer react.",
     "Turned sign: the error grows. Missing slope: it learns as well": "The first half is right. The second was worth a bet: the output layer still gets its exact gradient. But this task cannot be solved by the output layer alone.",
     "All three learn equally well": "Then nobody would need equations."},
    answer="Turned sign: the error grows. Missing slope: it hardly learns")

# %%
def train(steps=400, rate=1.0, **slip):
    W, b = tiny_net()
    costs = []
    for _ in range(steps):
        costs.append(((forward(W, b, x)[-1] - y) ** 2).sum().item())
        for l, (dW, db) in enumerate(backpropagate(W, b, x, y, **slip)):
            W[l], b[l] = W[l] - rate * dW, b[l] - rate * db  # downhill
    return costs

costs = {name: train(**slip) for name, slip in versions.items()}

# %% mystnb={"image": {"alt": "Error against training step, three lines from the same start. The solid line of the right equations falls to almost zero. The dashed line with the turned sign rises quickly to two. The dotted line without the slope wobbles around one and stays there."}, "figure": {"caption": "The same net, the same start, three sets of equations. An error of one is what a net gets that always says one half; an error of two is what a net gets that gives every picture the same answer, as firmly as it can.", "name": "fig-02-slips"}} tags=["hide-input"]
fig, ax = plt.subplots(figsize=(plots.WIDTH, 3.2), layout="constrained")
for (name, values), colour, dashes in zip(costs.items(), ("#0072B2", "#D55E00", "#E69F00"), ("-", "--", ":")):
    ax.plot(values, color=colour, linestyle=dashes, label=name)
ax.set(xlabel="step of gradient descent", ylabel="squared error C, four pictures", ylim=(0, 2.1))
ax.legend(loc="center right", bbox_to_anchor=(1, 0.32))
plots.finish(fig, "the four pictures of two pixels above")

# %% tags=["remove-input"]
right, turned, flat = costs.values()
display(records.verdict("The derivative of the squared error is 2(y - a)", source="belaustegui2022", reported="dC/da = 2(y - a)",
                measured=f"dC/da = 2(a - y). With the printed sign the error goes from {turned[0]:.2f} up to {turned[-1]:.2f}, with the right one down to {right[-1]:.3f}.",
                verdict="corrected", why="The derivative of (y - a) with respect to a is -1, and the chain rule brings it out. With the printed sign, gradient descent climbs."))
display(records.verdict("The error of a hidden layer is the transposed weights times the next error", source="belaustegui2022", reported="no sigma' in the second equation",
                measured=f"The hidden layer's gradient is off by up to {difference['(2) without slope']:.2f}; after training the error is {flat[-1]:.2f} instead of {right[-1]:.3f}.",
                verdict="corrected", why="The error is defined before the activation function, so going back through the function multiplies by its slope. For a sigmoid the slope is at most a quarter."))

# %% [markdown]
# Does a brain learn like this? Hardly: the backward pass needs the very same weights as the forward pass (neurons do not run backwards), and it needs an error signal that every synapse must wait for, while real synapses seem to change by what they can feel on the spot {cite}`crick1989`.
# Chapter 10 trains a net with such a local rule, and asks whether it is harder to fool.
#
# ## Watching a net learn
#
# Now a real net. `training.fit` does what we did by hand, in small batches, with autograd and with a loss that suits classes better than the squared error: the *cross-entropy* $-\log p_y$, where the $p$ are the softmax of the logits.
# LeNet learns the small embedded digits in seconds. We train it for one, two, three, five and eight epochs, each time anew from the same seed.

# %%
small, held_out = data.load("digits"), data.load("digits", "test")
snapshots, histories = {}, {}
for epochs in (0, 1, 2, 3, 5, 8):
    with torch.random.fork_rng():
        torch.manual_seed(0)  # the same initial weights each time
        net = models.LeNet()
    if epochs:
        histories[epochs] = training.fit(net, small, validation=held_out, epochs=epochs,
                                          batch_size=32, progress=False)
    snapshots[epochs] = net.eval()

shorter, longest = histories[5], histories[8]
same = shorter.validation_accuracy == longest.validation_accuracy[:5]
print("the same seed gives the same first epochs:", same)

# %% mystnb={"image": {"alt": "Two panels. Left: the training loss falls steeply in the first epochs and then slowly. Right: training accuracy and accuracy on held-out digits climb together towards one hundred percent."}, "figure": {"caption": "Eight epochs of LeNet on the embedded digits. Training accuracy is counted on the batches while the net still changes and with dropout on, so it may lie below the accuracy on held-out images.", "name": "fig-02-live"}}
plots.history(longest, source=small.source)

# %%
young = evaluation.logits(snapshots[1], held_out.images).softmax(1)  # after one epoch
confidence = young.gather(1, held_out.labels[:, None])[:, 0]  # in the right answer
exam = held_out[confidence.argsort()[:24]]  # the hardest
answers = {epochs: evaluation.logits(net, exam.images).argmax(1)
           for epochs, net in snapshots.items()}

def draw(epochs):
    titles = [f"says {k}" for k in answers[epochs].tolist()]
    return plots.images(exam.images, titles, columns=8, source=exam.source,
                        frame=answers[epochs] == exam.labels)

def describe(epochs):
    right = int((answers[epochs] == exam.labels).sum())
    return f"Two dozen difficult digits; epochs of training: {epochs}; named rightly: {right}."

# %% tags=["hide-input"]
widgets.explore(draw, epochs=[0, 1, 2, 3, 5, 8], alt=describe,
                caption="The two dozen held-out digits that LeNet finds hardest after one epoch, seen by the same net at other ages. "
                        "Green, solid: right. Red, dashed: wrong. At age zero the weights are random, and it says the same to everything.")

# %% [markdown]
# ## How sure is sure?
#
# The softmax turns logits $z$ into ten positive numbers with sum one, $p_k = e^{z_k} / \sum_j e^{z_j}$. They are called *confidences*, and it is tempting to read them as probabilities.
# But multiply all logits by a number $s$: the largest stays the largest, so not one answer changes. The confidences do.

# %% tags=["remove-input"]
widgets.predict(
    "A net classifies an image rightly. We multiply its ten logits by one hundred. What happens to the slope of the cross-entropy with respect to the pixels?",
    {"Nothing: the answer is the same": "The answer is the same, but the slope belongs to the confidences, and these change.",
     "It becomes a hundred times larger": "One factor of a hundred does come out of the chain rule. But it is multiplied by how far the confidence is from one, and that falls much faster.",
     "It practically vanishes": "Yes. The loss of a net that is perfectly sure is perfectly flat. An attack that follows the slope finds nothing to follow, although the net is exactly as easy to fool as before."},
    answer="It practically vanishes")

# %%
z = evaluation.logits(lenet, mnist.images)
best = int((z.argmax(1) == mnist.labels).nonzero()[0])  # first that is right
image, target = mnist.images[best:best + 1], mnist.labels[best:best + 1]

def slope(scale):
    """Slope of the loss of `scale` times the logits, at its steepest pixel."""
    x = image.clone().requires_grad_()
    loss = F.cross_entropy(scale * lenet(x), target)
    return torch.autograd.grad(loss, x)[0].abs().max().item()

scales = [0.01, 0.03, 0.1, 0.3, 1, 2, 3, 5, 10, 100]
slopes = [slope(scale) for scale in scales]

# %% tags=["hide-input"]
def draw(scale):
    fig, (left, right) = plt.subplots(1, 2, figsize=(plots.WIDTH, 3.0), layout="constrained")
    left.bar(mnist.classes, (scale * z[best]).softmax(0), color=plots.colour("lenet"))
    left.set(xlabel="class", ylabel="confidence", ylim=(0, 1.02), title=f"logits times {scale:g}")
    seen = [max(s, 1e-50) for s in slopes]  # a logarithmic axis has no zero: draw it below everything
    right.loglog(scales, seen, ".-", color="#767676")
    right.loglog(scale, seen[scales.index(scale)], "o", color=plots.WRONG, markersize=9)
    right.set_yticks([1, 1e-10, 1e-20, 1e-30, 1e-40, 1e-50], ["1", "1e-10", "1e-20", "1e-30", "1e-40", "0"])
    right.set(xlabel="scale s of the logits", title="steepest slope of the loss")
    return plots.finish(fig, mnist.source)

def describe(scale):
    return (f"Logits times {scale:g}: the largest confidence is {(scale * z[best]).softmax(0).max():.3f}, "
            f"the slope of the loss is {slopes[scales.index(scale)]:.1e}.")

# %% tags=["hide-input"]
widgets.explore(draw, scale=scales, alt=describe,
                caption="One image, one net, ten scales. The answer never changes. The confidence runs from undecided to certain; "
                        "the slope of the loss first grows with the scale and then falls off a cliff, down to exactly zero.")

# %% tags=["remove-input"]
records.say("At the steepest pixel of this image the slope is {one:.1e} with the logits as they are, and {hundred} when they are multiplied by a hundred.",
            one=slopes[scales.index(1)], hundred=f"{slopes[-1]:.1e}" if slopes[-1] else "exactly zero")

# %% [markdown]
# The reason is one line: $\partial C / \partial z_k = s\,(p_k - [k = y])$. When $p_y$ reaches one, every entry of this vector is zero, and the backward pass has nothing to send back.
# Keep this in mind. In [chapter 04](04_many_steps.ipynb) it makes a net look robust that is not, and a loss that uses the logits themselves brings the truth back.
#
# ## The nets of this book
#
# The four nets were trained once, on the full real training sets, and their weights lie in the repository.
# Each has a *card* that says how: data, epochs, augmentation, accuracy. Here are the cards' learning curves.

# %%
names = ("lenet", "mnist_resnet", "cifar_net", "vgg_blocks")
cards = {name: zoo.card(name) for name in names}
print(f"{'':<13}epochs   augmentation     training  test     95 % interval")
for name, card in cards.items():
    low, high = card["test accuracy 95 %"]
    print(f"{name:<13}{card['epochs']:>6}   {card['augmentation']:<17}"
          f"{card['train accuracy']:<10.2%}{card['test accuracy']:<9.2%}{low:.2%} to {high:.2%}")

# %% mystnb={"image": {"alt": "Two panels of test accuracy against epoch. Left, MNIST: LeNet and the residual net start high and creep to just below one hundred percent. Right, CIFAR-10: CifarNet and VGG blocks climb more slowly and end lower, CifarNet above VGG blocks."}, "figure": {"caption": "Accuracy on the test set after each epoch. The test set was only watched here: no epoch and no setting was chosen by it. Mind the two scales.", "name": "fig-02-learning"}} tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(plots.WIDTH, 3.2), layout="constrained")
for ax, title, pair in zip(axes, ("MNIST", "CIFAR-10"), (names[:2], names[2:])):
    for name in pair:
        values = cards[name]["history"]["validation_accuracy"]
        look = plots.LOOKS[name]
        ax.plot(range(1, len(values) + 1), values, color=look.colour, linestyle=look.line, label=look.label)
    ax.set(xlabel="epoch", ylabel="test accuracy", title=title)
    ax.yaxis.set_major_formatter("{x:.1%}" if title == "MNIST" else "{x:.0%}")
    ax.legend(loc="lower right")
plots.finish(fig, "; ".join(dict.fromkeys(card["source"] for card in cards.values())))

# %% [markdown]
# What we see: grey digits are nearly solved after a few epochs, and the rest of the training polishes. Photographs take longer, and stay unsolved: ten classes of everyday things in so few pixels are hard.
#
# ## Sixteen points of overfitting
#
# {cite:t}`marinelli` reports that the VGG blocks name almost every training picture rightly, and far fewer of the test pictures. That gap has a name, *overfitting*: the net knows its training pictures by heart, together with things that hold for no other picture.
# Our VGG blocks learned with *augmentation*: in every epoch each picture is moved by a few pixels, and mirrored half of the time. The net never sees quite the same picture twice.

# %% tags=["remove-input"]
widgets.predict(
    "We train the VGG blocks twice: once with moved and mirrored pictures, once without, as the source did. Which has the higher accuracy on its own training pictures?",
    {"With augmentation: it saw more": "It saw more, so it had more to learn, and less of it could be learnt by heart.",
     "Without augmentation: it can learn them by heart": "Yes. And what it learns by heart does not help with new pictures, as the figure shows.",
     "The same": "The architecture is the same, but what it is asked to remember is not."},
    answer="Without augmentation: it can learn them by heart")

# %%
plain, augmented = records.read("02-plain-vgg")["values"], cards["vgg_blocks"]
gap = {name: run["train accuracy"] - run["test accuracy"]
       for name, run in (("plain", plain), ("augmented", augmented))}
told = {"train accuracy": 0.9879, "test accuracy": 0.8272}  # marinelli

# %% mystnb={"image": {"alt": "Two panels, accuracy against epoch, training solid and test dashed, the space between them shaded. Left, without augmentation: the training curve crosses the test curve halfway and runs away upwards, so that the shaded gap widens. Right, with augmentation: the two curves stay close together and end higher for the test pictures. Two dotted lines mark what the source reported."}, "figure": {"caption": "The VGG blocks, without augmentation, as the source trained them, and with it. Dotted: the two accuracies that the source reports. Training accuracy is counted on the batches, with dropout and augmentation on; that is why it can lie below the test curve.", "name": "fig-02-overfitting"}} tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(plots.WIDTH, 3.4), sharey=True, layout="constrained")
for ax, title, run in zip(axes, ("without augmentation", "with augmentation"), (plain, augmented)):
    seen, new = run["history"]["train_accuracy"], run["history"]["validation_accuracy"]
    epochs = range(1, len(seen) + 1)
    ax.fill_between(epochs, seen, new, color=plots.colour("vgg_blocks"), alpha=0.2, linewidth=0)
    ax.plot(epochs, seen, color="#0072B2", label="training")
    ax.plot(epochs, new, color="#D55E00", linestyle="--", label="test")
    for value in told.values():
        ax.axhline(value, color="#767676", linestyle=":", linewidth=1.2)
    ax.set(xlabel="epoch", title=title)
axes[0].set_ylabel("accuracy")
axes[0].yaxis.set_major_formatter("{x:.0%}")
axes[1].legend(loc="lower right")
plots.finish(fig, augmented["source"])

# %% tags=["remove-input"]
display(records.quote("02-plain-vgg"))
records.say("Counted on the finished nets: without augmentation {a:.2%} of the training and {b:.2%} of the test pictures, a gap of {c:.1f} points; "
            "with augmentation {d:.2%} and {e:.2%}, a gap of {f:.1f} points.",
            a=plain["train accuracy"], b=plain["test accuracy"], c=100 * gap["plain"],
            d=augmented["train accuracy"], e=augmented["test accuracy"], f=100 * gap["augmented"])

# %% tags=["remove-input"]
low, high = plain["test accuracy 95 %"]
told_gap = told["train accuracy"] - told["test accuracy"]
records.verdict("The VGG blocks overfit by sixteen points", source="marinelli",
                reported=f"{told['train accuracy']:.2%} train, {told['test accuracy']:.2%} test: a gap of {100 * told_gap:.1f} points",
                measured=f"{plain['train accuracy']:.2%} train, {plain['test accuracy']:.2%} test (95 %: {low:.2%} to {high:.2%}): a gap of {100 * gap['plain']:.1f} points "
                         f"without augmentation, of {100 * gap['augmented']:.1f} with it",
                verdict="confirmed" if abs(gap["plain"] - told_gap) < 0.02 else "differs",
                why=f"The overfitting is there. Its size depends on when one stops: after our {plain['epochs']} epochs, with another learning-rate schedule and on pictures that were "
                    "re-encoded once as JPEG, the net does not know its training pictures as well as the source's net did. Augmentation narrows the gap and raises the test accuracy.")

# %% [markdown]
# ## What the nets get wrong by themselves
#
# A *confusion matrix* counts, for every true class, what the net said. Right answers lie on the diagonal; everything else is a mistake with a name.
# LeNet first, computed here and now:

# %%
predicted = z.argmax(1)
matrix = torch.bincount(10 * mnist.labels + predicted, minlength=100).view(10, 10)

# %% mystnb={"image": {"alt": "A ten by ten table of counts for LeNet, true digit down, predicted digit across. Nearly everything is on the diagonal; a few single mistakes are scattered around it."}, "figure": {"caption": "LeNet's confusion matrix on the test set. The stronger the orange, the more frequent the mistake.", "name": "fig-02-confusion-lenet"}}
plots.confusion(matrix, mnist.classes, source=mnist.source)

# %% [markdown]
# Colour photographs are harder. This one was measured once on the full CIFAR-10 test set:

# %%
measured = records.read("02-confusion")
confused = measured["values"]["cifar_net"]
origin = measured["provenance"]["source"].split("; ")[-1]

# %% mystnb={"image": {"alt": "A ten by ten table of counts for CifarNet on the CIFAR-10 classes. The diagonal dominates. The strongest orange squares join cat and dog, in both directions."}, "figure": {"caption": "CifarNet's confusion matrix on the full CIFAR-10 test set. Its mistakes are understandable: mostly animals taken for other animals.", "name": "fig-02-confusion-cifar"}}
plots.confusion(confused["matrix"], confused["classes"], source=origin)

# %% tags=["remove-input"]
display(records.quote("02-confusion"))
for name, found in measured["values"].items():
    wrong = torch.tensor(found["matrix"]).fill_diagonal_(0)
    true, said = divmod(int(wrong.argmax()), len(wrong))
    display(records.say("- **{net}**: {accuracy:.2%} right (95 % interval {low:.2%} to {high:.2%}). Most frequent mistake: {true} taken for {said}, {count} times. "
                "Mean confidence {sure:.1%} when right, {unsure:.1%} when wrong.", net=plots.label(name),
                **{k: found["accuracy"]["value" if k == "accuracy" else k] for k in ("accuracy", "low", "high")},
                true=found["classes"][true], said=found["classes"][said], count=int(wrong.max()),
                sure=found["mean confidence"]["right"], unsure=found["mean confidence"]["wrong"]))

# %% [markdown]
# Look at the last two numbers of each line. The nets are less sure when they are wrong, but they are far from modest.
#
# {cite:t}`unam2021` shows the first misclassified picture of each data set. So do we, for all four nets: we walk through the test set until somebody stumbles.

# %%
def first_mistake(name, test):
    """Image, index, class, answer and confidence of the first mistake, or None."""
    net = zoo.pretrained(name, test.name)
    for start in range(0, len(test), 500):
        part = test[start:start + 500]
        p = evaluation.logits(net, part.images).softmax(1)
        for k in (p.argmax(1) != part.labels).nonzero().flatten()[:1].tolist():
            true, said = test.classes[part.labels[k]], test.classes[p[k].argmax()]
            return part.images[k], start + k, true, said, p[k].max().item()

tests = zip(names, (mnist, mnist, cifar, cifar))
mistakes = {name: found for name, test in tests if (found := first_mistake(name, test))}

# %% mystnb={"image": {"alt": "Up to four pictures side by side, two digits and two colour pictures, each the first of its test set that the net named above it gets wrong, with the true class, the answer and the confidence."}, "figure": {"caption": "The first test image that each net gets wrong. No attacker was needed. Would you have known?", "name": "fig-02-first-mistakes"}}
titles = [f"{plots.label(name)}\ntest[{index}]: {true}\n\"{said}\" ({sure:.0%})"
          for name, (_, index, true, said, sure) in mistakes.items()]
pictures = [found[0] for found in mistakes.values()]
plots.images(pictures, titles, columns=4, source=f"{mnist.source}; {cifar.source}")

# %% tags=["remove-input"]
firsts = {plots.label(name): found["first mistake"]["index"] for name, found in measured["values"].items()}
records.verdict("The first misclassified picture of each set", source="unam2021", reported="one picture for each data set, without its index",
                measured="; ".join(f"{net}: test[{index}]" for net, index in firsts.items()) + ", on the full real test sets", verdict="open",
                why="The weights of the source are not published, and the first mistake depends on them: train anew and somebody else stumbles first.")

# %% [markdown]
# These are honest mistakes on honest pictures: unclear strokes, unusual views. A person often hesitates at the same places.
# The mistakes of the next chapter are of another kind. There, a picture that no person would hesitate about gets a wrong answer, and often a very sure one.
#
# ## Exercises
#
# [Exercises for this chapter](../exercises/student/02_networks.ipynb)
#
# 1. **Code.** `gradients(W1, b1, W2, b2, x, y)`: the two-layer sigmoid net by the four equations, without autograd.
# 2. **Measurement.** Count LeNet with $n$ extra layers, and find the $n$ at which it first exceeds one million numbers.
# 3. **Thought.** The training accuracy is sixteen points above the test accuracy. Give three explanations, and say how you would tell them apart.
#
# ## Take-away
#
# - A net is a chain of simple steps, and every number in it can be counted with two formulas. Convolutions share their numbers; dense layers do not.
# - Backpropagation is four equations. A slip in them raises no error: compare with autograd, always.
# - A gap between training and test accuracy tells about the way of training, not only about the net.
# - Confidence is not probability. Scaling the logits changes every confidence and no answer, and it can flatten the loss until a gradient vanishes.
# - Nets err without attackers too. Those mistakes look like ours; the ones to come do not.
#
# ## Where the numbers come from
#
# - The four nets: `data/checkpoints/*.safetensors`, each with its card; trained again by `advlens record checkpoint-lenet-mnist` and its like.
# - Training without augmentation: record `02-plain-vgg`. Confusion matrices on the full test sets: record `02-confusion`. Made again by `advlens record NAME`.
# - Everything else is computed in this chapter when it runs. The data set used stands under each figure.
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
