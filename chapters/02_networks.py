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
# Two pictures of one digit go into a network. You would give both the same name; the network does not.
# **Where on the way do the two part?** Move the slider: each stop lies deeper in LeNet.

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

# %% tags=["hide-input"]
import torch.nn.functional as F

from advlens import training

mnist = data.load("mnist", "test", fallback="digits")
cifar = data.load("cifar10", "test", fallback="shapes")
lenet = zoo.pretrained("lenet", mnist.name)

EPS = 0.1  # the largest change of a pixel


def walk(net, x):
    """What each layer answers: [(layer, (N, ...)), ...], the image first."""
    answers = [(None, x)]
    with torch.no_grad():
        for layer in net:
            answers.append((layer, layer(answers[-1][1])))
    return answers


eights = mnist[mnist.labels == 8]
twins = attacks.fgsm(lenet, eights.images, eights.labels, eps=EPS)  # how it is made: chapter 03
sure, said = (evaluation.logits(lenet, images).softmax(1) for images in (eights.images, twins))
parted = (sure.argmax(1) == 8) & (said.argmax(1) == 3) & (said[:, 3] > 0.8)
chosen = (parted * sure[:, 8]).argmax()[None]  # of those that become a three: the eight that LeNet was surest of
digit, twin = eights.images[chosen], twins[chosen]
here, there = walk(lenet, digit), walk(lenet, twin)
stops = {"the image": 0, "1st convolution": 2, "pooled": 4, "2nd convolution": 6, "pooled again": 7, "dense, 120": 10,
         "dense, 84": 13, "10 logits": 14}


def sheet(answer):
    """The channels of one image's answer (1, C, H, W) beside each other, or (1, n) as rows of numbers: (1, H, W)."""
    if answer.dim() == 2:
        return answer.view(1, -1, 12 if answer.shape[1] % 12 == 0 else 10)
    across = {1: 1, 6: 3, 16: 4}[answer.shape[1]]
    maps = F.pad(answer[0], (0, 1, 0, 1)).unflatten(0, (-1, across))  # a gap between two channels
    return maps.permute(0, 2, 1, 3).flatten(2).flatten(0, 1)[None, :-1, :-1]


def draw(layer):
    clean, attacked = here[layer][1], there[layer][1]
    top = max(clean.abs().max(), attacked.abs().max()).item()
    panel = plots.image if layer == 0 else lambda picture, title: plots.noise(picture, title, limit=top)
    return plots.grid([panel(sheet(clean), "the eight"), panel(sheet(attacked), "its twin"),
                       plots.noise(sheet(attacked - clean), "difference", limit=top)], columns=3, source=mnist.source)


def describe(layer):
    clean, attacked = here[layer][1], there[layer][1]
    name = next(name for name, stop in stops.items() if stop == layer)
    told = f"{name}: the difference is {(attacked - clean).norm() / clean.norm():.0%} of the eight's own length."
    if layer < 14:
        return told
    return f"{told} The largest of the ten logits stands at {clean.argmax()} for the eight and at {attacked.argmax()} for its twin."

# %% tags=["remove-input"]
widgets.explore(draw, layer=stops, alt=describe, flips="10 logits",
                caption="An eight, its adversarial twin, and the difference, seen by the layers of LeNet. Orange is positive, blue is negative; "
                        "each layer is drawn at a scale of its own, the same for all three pictures. "
                        "What begins as faint stains ends as another answer.")

# %% [markdown]
# :::{admonition} At a glance
# :class: glance
# - **You will be able to** read a network as a chain of simple steps and count its numbers; write backpropagation and test it; tell learning by heart from learning; say what a confidence is, and what it is not; say why one trained network is not a kind of network.
# - **Time** 60 minutes.
# - **Threat model** none, apart from the twin above: this chapter shows the networks as they are. How twins are made is the next one's subject.
# - **Sources** {cite}`unam2021` for three of the networks, {cite}`marinelli` for the VGG blocks, {cite}`belaustegui2022` for the equations.
# :::
#
# ## What a layer does
#
# A **convolution** slides a small window over the picture. At every place it multiplies the pixels in the window by the numbers of a *kernel* $K$, adds them up, and adds a bias $b$:
#
# $$
# \text{out}(i, j) = b + \sum_{u, v} K(u, v)\; x(i + u,\; j + v).
# $$
#
# The kernel is the same everywhere, so the layer asks *one* question at every place: does the picture look like my kernel here? A colour picture has three *channels*. A layer with $C$ channels at its input and $D$ at its output has $D$ kernels, each of $k \times k \times C$ numbers, and sums over the input channels as well.
# We choose a kernel that is negative on the left and positive on the right. It asks: does it get brighter from left to right?

# %%
first = mnist.images[:1]  # (1, 1, 28, 28): one picture with one channel
edge = torch.tensor([[[[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]]])
response = F.conv2d(first, edge, padding=1)  # (1, 1, 28, 28)

i, j = 10, 14  # one place, computed by hand
by_hand = (edge[0, 0] * first[0, 0, i - 1:i + 2, j - 1:j + 2]).sum()
print("the same by hand:", torch.isclose(by_hand, response[0, 0, i, j]).item())

# %% tags=["hide-input"] mystnb={"image": {"alt": "Three pictures. A handwritten digit. The three by three kernel, blue on the left, orange on the right. The response: orange along the left edges of the strokes and blue along the right edges."}, "figure": {"caption": "One convolution: orange is positive, blue is negative. The kernel answers with orange where a stroke begins and with blue where it ends. Flat regions, black or white, give nothing.", "name": "fig-02-convolution"}}
plots.grid([plots.image(first[0], "picture x"), plots.noise(edge[0], "kernel K"), plots.noise(response[0], "response")],
           columns=3, source=mnist.source)

# %% [markdown]
# Nobody chooses the kernels of a trained network. LeNet has six in its first layer, and training found them.

# %% tags=["hide-input"] mystnb={"image": {"alt": "Two rows of six pictures. Top: six learned kernels of five by five numbers, patches of orange and blue. Bottom: the digit as each of them answers it; strokes light up in orange and blue depending on their direction."}, "figure": {"caption": "The six kernels of LeNet's first layer, and what each answers to the digit above. Some answer along edges of one direction, others to the ink itself.", "name": "fig-02-filters"}}
kernels = lenet[1].weight.detach()  # (6, 1, 5, 5); lenet[0] is Normalize
with torch.no_grad():
    responses = lenet[1](lenet[0](first))[0]  # (6, 28, 28)
plots.grid([[plots.noise(k, limit=kernels.abs().max().item()) for k in kernels],
            [plots.noise(r[None], limit=responses.abs().max().item()) for r in responses]],
           heads=[str(k) for k in range(1, 7)], rows=["kernel", "answer"], source=mnist.source)

# %% [markdown]
# The other layers are simpler still.
# **ReLU** replaces negative numbers by zero. **Pooling** keeps the average or the largest of each little square, so the picture shrinks.
# **Batch normalisation** {cite}`ioffe2015` brings every channel to a common mean and spread. **Dropout** {cite}`srivastava2014` switches numbers off at random, and only while the network learns.
# A **dense** layer multiplies everything by everything: $z = W a + b$.
# The last dense layer gives ten numbers, the *logits*, one for each class. The largest is the answer.
#
# ## Counting every number
#
# How large is a network? One can count, without running anything:
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
    {"In the first convolution": "It looks at the whole picture, but with the same six small kernels at every place. Sharing makes it the smallest layer of all.",
     "In the second convolution": "Larger than the first, because each kernel reaches through six channels. Still small: its kernels are shared too.",
     "In the first dense layer": "It joins every one of its inputs to every one of its outputs and shares nothing. One layer holds more than all others together.",
     "In the last dense layer": "It has only ten outputs, so it stays small."},
    answer="In the first dense layer")

# %% tags=["hide-input", "covered"]
nets = {"LeNet": models.LeNet(), "ResNet": models.MnistResNet(), "CifarNet": models.CifarNet(), "VGG blocks": models.VggBlocks()}
shapes = {name: (1, 28, 28) if name in ("LeNet", "ResNet") else (3, 32, 32) for name in nets}


def stored(name):
    found = zoo.count(nets[name])
    return f"{found['total']:,}" + (f" ({found['trainable']:,} trainable)" if found["non-trainable"] else "")

# %% tags=["remove-input", "covered"]
widgets.explore(lambda network: plots.network(nets[network], shapes[network]), network=list(nets),
                alt=lambda network: f"{network}, layer by layer. It stores {stored(network)} numbers.",
                caption="The four networks of this chapter, drawn from their own modules: what goes from layer to layer, and how many numbers each layer stores.")

# %% [markdown]
# :::{container} covered
# LeNet goes back to {cite:t}`lecun1998`. The **ResNet** {cite}`he2016` has *identity blocks*, which compute $x + F(x)$: a block only has to learn what to change. **CifarNet** repeats *convolution, batch normalisation, pooling* on colour pictures; all three are networks of {cite:t}`unam2021`. The **VGG blocks** of {cite:t}`marinelli`, after {cite:t}`simonyan2015`, are the same idea without batch normalisation.
#
# The formulas of the table against the networks, and, unfolded, the layers one by one:
# :::

# %% tags=["nbval-check-output", "covered"]
def conv(k, c, d): return (k * k * c + 1) * d
def dense(n, m): return (n + 1) * m
def norm(c): return 4 * c
pairs = [(3, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128)]  # channels
blocks = sum(conv(3, c, d) for c, d in pairs) + dense(2048, 128) + dense(128, 10)
formula = {
    "LeNet": conv(5, 1, 6) + conv(5, 6, 16) + dense(400, 120) + dense(120, 84)
             + dense(84, 10),
    "ResNet": conv(7, 1, 64) + norm(64) + 4 * (conv(3, 64, 64) + norm(64))
              + dense(64, 10),
    "CifarNet": blocks + sum(norm(d) for _, d in pairs), "VGG blocks": blocks,
}
for name, expected in formula.items():
    counted = zoo.count(nets[name])["total"]
    print(f"{name:<11}{expected:>8,}", "as counted" if counted == expected else "NO")

# %% tags=["hide-input", "hide-output", "nbval-check-output", "covered"]
for name, net in nets.items():
    print(f"{name}\n{zoo.summary(net)}\n")

# %% tags=["remove-input", "covered"]
records.verdict("How many numbers the three networks store", source="unam2021", where="appendix A, figures 23 to 25", verdict="confirmed",
                reported="LeNet 61,706; ResNet 152,842 (152,202 trainable); network for CIFAR-10 552,362 (551,466 trainable)",
                measured=f"LeNet {stored('LeNet')}; ResNet {stored('ResNet')}; CifarNet {stored('CifarNet')}",
                why="Same layers, same formulas. Not trained are the running means and variances of batch normalisation.")

# %% tags=["hide-input", "covered"] mystnb={"image": {"alt": "Four horizontal bars, one for each network, each filled to one hundred percent. LeNet is almost all dense. The ResNet is almost all convolution. CifarNet and VGG blocks are about half and half. Batch normalisation is a thin sliver."}, "figure": {"caption": "Where the numbers are. LeNet keeps nearly all of them in dense layers. The ResNet averages its picture away before its only dense layer, and keeps nearly all in convolutions.", "name": "fig-02-shares"}}
kinds = {"convolution": (torch.nn.Conv2d, "lenet"), "batch normalisation": (torch.nn.BatchNorm2d, "fully_connected"), "dense": (torch.nn.Linear, "vgg_blocks")}
ax = plots.axes(height=2.4)
start = torch.zeros(len(nets))
for kind, (layer, look) in kinds.items():
    own = torch.tensor([sum(zoo.count(m)["total"] for m in net.modules() if isinstance(m, layer)) for net in nets.values()])
    share = 100 * own / torch.tensor([zoo.count(net)["total"] for net in nets.values()])
    ax.barh(list(nets), share, left=start, color=plots.colour(look), label=kind)
    start = start + share
ax.invert_yaxis()
ax.set(xlabel="share of all numbers (%)", xlim=(0, 100))
ax.legend(ncols=1, loc="lower left", bbox_to_anchor=(0, 1.0))
plots.finish(ax)

# %% [markdown]
# ## The forward pass
#
# Forget pictures for a moment. A feed-forward network repeats one line:
#
# $$
# z^{l} = W^{l} a^{l-1} + b^{l}, \qquad a^{l} = \sigma(z^{l}).
# $$
#
# It begins with the picture, $a^0 = x$. We write it for a network that can be followed with a pencil: two pixels, four hidden neurons, one output.
# Its task is *exactly one of the two pixels is bright*, the exclusive or, which no single layer can solve.
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
# How wrong is the network? We take the squared error, summed over the pictures: $C = \sum \lVert a^L - y \rVert^2$.
# To make it smaller we need its slope in every weight.
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
#
# The code follows the slope with respect to $a$, which {cite:t}`belaustegui2022` does too, and makes $\delta$ from it on the way. Two switches plant two mistakes that are easy to make: `sign = -1` turns the first line around, and `slope = False` sends the blame back before $\sigma'$ has been multiplied in.

# %%
def backpropagate(W, b, x, y, sign=1, slope=True):
    a = forward(W, b, x)
    blame = sign * 2 * (a[-1] - y)  # dC/da of the last layer
    gradients = []
    for l in reversed(range(len(W))):
        delta = blame * a[l + 1] * (1 - a[l + 1])  # (1), and the right half of (2)
        gradients.append((delta.T @ a[l], delta.sum(0)))  # (4), (3)
        blame = (delta if slope else blame) @ W[l]  # the left half of (2)
    return gradients[::-1]

# %% [markdown]
# Is it right? Autograd knows nothing of our equations: it takes the forward pass apart step by step. If both agree to the last digits, both are right.

# %%
def by_autograd(W, b, x, y):
    both = [p.clone().requires_grad_() for pair in zip(W, b) for p in pair]
    cost = ((forward(both[::2], both[1::2], x)[-1] - y) ** 2).sum()
    return torch.autograd.grad(cost, both)

def largest_difference(ours, true):
    ours = [p for pair in ours for p in pair]
    return max((p - q).abs().max().item() for p, q in zip(ours, true))

W, b = tiny_net()
true = by_autograd(W, b, x, y)
print("largest difference below 1e-15:",
      largest_difference(backpropagate(W, b, x, y), true) < 1e-15)

# %% [markdown]
# A wrong gradient raises no error. What does it do to the learning? Think first:

# %% tags=["remove-input"]
widgets.predict(
    "We train the tiny network three times from the same start: with the right equations, with the sign turned, and with the slope left out on the way back. What do the two wrong ones do?",
    {"Neither learns": "One of them does not. But a gradient need not be exact to be useful: to go downhill it is enough to point roughly downhill.",
     "Turned sign: the error grows. Missing slope: it hardly learns": "The first half is right. The second sounds as it should, and is wrong: what is missing is a positive factor, so the blame arrives with the right signs.",
     "Turned sign: the error grows. Missing slope: it learns as well": "So a falling error proves nothing about a gradient. Only a comparison does.",
     "All three learn": "One of them has uphill and downhill exchanged."},
    answer="Turned sign: the error grows. Missing slope: it learns as well")

# %% tags=["covered"]
def train(steps=400, rate=1.0, seed=3, **mistake):
    W, b = tiny_net(seed=seed)
    costs = []
    for _ in range(steps):
        costs.append(((forward(W, b, x)[-1] - y) ** 2).sum().item())
        for l, (dW, db) in enumerate(backpropagate(W, b, x, y, **mistake)):
            W[l], b[l] = W[l] - rate * dW, b[l] - rate * db  # downhill
    return costs

versions = {"right": {}, "sign turned": {"sign": -1}, "slope left out": {"slope": False}}
costs = {name: train(**mistake) for name, mistake in versions.items()}

# %% tags=["hide-input", "covered"] mystnb={"image": {"alt": "Error against training step, three lines from the same start. The line of the right equations and the one without the slope both fall to almost zero. The line with the turned sign rises quickly to two."}, "figure": {"caption": "The same network, the same start, three sets of equations. An error of two is what a network gets that gives every picture the same answer, as firmly as it can.", "name": "fig-02-mistakes"}}
ax = plots.axes(height=2.8)
for (name, values), look, dashes in zip(costs.items(), ("lenet", "mnist_resnet", "fully_connected"), ("-", "--", ":")):
    ax.plot(values, color=plots.colour(look), linestyle=dashes, label=name)
ax.set(xlabel="step of gradient descent", ylabel="squared error, four pictures", ylim=(0, 2.1))
ax.legend(loc="center right")
plots.finish(ax, "the four pictures of two pixels above")

# %% tags=["remove-input", "covered"]
off = largest_difference(backpropagate(W, b, x, y, slope=False), true)
largest = max(p.abs().max().item() for p in true)
starts = [(train(seed=seed)[-1], train(seed=seed, slope=False)[-1]) for seed in (0, 1, 2, 4, 5)]
records.say("Without the slope an entry of the gradient is off by up to {off:.2f}, where the largest true entry is {largest:.2f}. All the same the error falls from {begin:.2f} to {end:.3f}; "
            "with the right equations it falls to {right:.3f}. From five other starts the wrong gradient never ends higher than the right one.",
            off=off, largest=largest, begin=costs["slope left out"][0], end=costs["slope left out"][-1], right=costs["right"][-1],
            holds=off > largest / 2 and costs["slope left out"][-1] < 0.05 and costs["sign turned"][-1] > costs["sign turned"][0]
            and all(wrong <= right for right, wrong in starts))

# %% [markdown]
# :::{container} covered
# Both mistakes stand in print (the book's page of [sources and errata](../book/sources_and_errata.md) lists them). With autograd one does not meet them. An attack walks along the same gradient, taken in the picture instead of the weights: test it before you trust what it finds.
#
# {cite:t}`crick1989` doubts that a brain learns like this: the way back needs the very same weights as the way forth, and an error signal that every synapse must wait for, while real synapses seem to change by what they can feel on the spot.
# :::
#
# ## Watching a network learn
#
# Now a real one. `training.fit` does what we did by hand, in small batches, with autograd, and with a loss that suits classes better than the squared error: the *cross-entropy* $-\log p_y$, where the $p$ are the softmax of the logits (chapter 00).
# LeNet learns the small digits that come with the library in seconds. We train it for one, two, three, five and eight *epochs* (passes over all training images), each time anew from the same seed.

# %%
small, held_out = data.load("digits"), data.load("digits", "test")
ages = {}
for epochs in (0, 1, 2, 3, 5, 8):
    with torch.random.fork_rng():
        torch.manual_seed(0)  # the same initial weights each time
        net = models.LeNet()
    if epochs:
        training.fit(net, small, epochs=epochs, batch_size=32, progress=False)
    ages[epochs] = net.eval()

# %% tags=["hide-input"]
young = evaluation.logits(ages[1], held_out.images).softmax(1)  # after one epoch
confidence = young.gather(1, held_out.labels[:, None])[:, 0]  # in the right answer
exam = held_out[confidence.argsort()[:24]]  # the hardest
answers = {epochs: evaluation.logits(net, exam.images).argmax(1) for epochs, net in ages.items()}


def draw(epochs):
    return plots.images(exam.images, [str(k) for k in answers[epochs].tolist()], columns=8, source=exam.source,
                        frame=answers[epochs] == exam.labels)


def describe(epochs):
    right = int((answers[epochs] == exam.labels).sum())
    return f"Two dozen difficult digits; epochs of training: {epochs}; named rightly: {right}."

# %% tags=["remove-input"]
widgets.explore(draw, epochs=list(ages), alt=describe,
                caption="The two dozen held-out digits that LeNet finds hardest after one epoch, and what the same network calls them at other ages. "
                        "Green, solid: right. Orange, dashed: wrong. At age zero its weights are random, and it says the same to everything.")

# %% [markdown]
# ## How sure is sure?
#
# The softmax turns logits $z$ into ten positive numbers with sum one, $p_k = e^{z_k} / \sum_j e^{z_j}$. They are called *confidences*, and it is tempting to read them as probabilities.
# But multiply all logits by a number $s$: the largest stays the largest, so not one answer changes. The confidences do.

# %% tags=["remove-input"]
widgets.predict(
    "A network classifies an image rightly, with a confidence of more than 99 %. We multiply its ten logits by one hundred. What happens to the slope of the cross-entropy with respect to the pixels?",
    {"Nothing: the answer is the same": "The answer is the same, but the slope belongs to the confidences, and these change.",
     "It becomes a hundred times larger": "One factor of a hundred does come out of the chain rule. But it is multiplied by how far the confidence is from one, and that falls much faster.",
     "It practically vanishes": "The loss of a network that is perfectly sure is perfectly flat. An attack that follows the slope finds nothing to follow, although the network is exactly as easy to fool as before."},
    answer="It practically vanishes")

# %% tags=["covered"]
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

# %% tags=["hide-input", "covered"]
def draw(scale):
    left, right = plots.axes(2, height=2.6)
    left.bar(mnist.classes, (scale * z[best]).softmax(0), color=plots.colour("lenet"))
    left.set(xlabel="class", ylabel="confidence", ylim=(0, 1.02), title=f"logits times {scale:g}")
    seen = [max(s, 1e-50) for s in slopes]  # a logarithmic axis has no zero: draw it below everything
    right.loglog(scales, seen, ".-", color=plots.GREY)
    right.loglog(scale, seen[scales.index(scale)], "o", color=plots.colour("mnist_resnet"), markersize=9)
    right.set_yticks([1, 1e-10, 1e-20, 1e-30, 1e-40, 1e-50], ["1", "1e-10", "1e-20", "1e-30", "1e-40", "0"])
    right.set(xlabel="scale s of the logits", title="steepest slope of the loss")
    return plots.finish([left, right], mnist.source)


def describe(scale):
    steepest = slopes[scales.index(scale)]
    return (f"Logits times {scale:g}: the largest confidence is {(scale * z[best]).softmax(0).max():.3f}, "
            f"the slope of the loss is {f'{steepest:.1e}' if steepest > 1e-12 else 'below 1e-12'}.")

# %% tags=["remove-input", "covered"]
widgets.explore(draw, scale=scales, alt=describe,
                caption="One image, one network, ten scales. The answer never changes. The confidence runs from undecided to certain; "
                        "the slope of the loss first grows with the scale and then falls off a cliff, down to exactly zero.")

# %% tags=["remove-input", "covered"]
records.say("At the steepest pixel of this image the slope is {one:.1e} with the logits as they are, and {hundred} when they are multiplied by a hundred.",
            one=slopes[scales.index(1)], hundred=f"{slopes[-1]:.1e}" if slopes[-1] else "exactly zero", holds=slopes[-1] < 1e-30)

# %% [markdown]
# :::{container} covered
# The reason is one line: $\partial \mathcal L / \partial z_k = s\,(p_k - [k = y])$, where $[k = y]$ is 1 for the true class and else 0. As $p_y$ approaches one, every entry of this vector approaches zero; with logits a hundred times as large they are too small for a 32-bit number and become exactly zero, and the way back has nothing to send.
# In [chapter 04](04_many_steps.ipynb) this makes a network look robust that is not.
# :::
#
# ## Learning by heart
#
# The networks of this book were trained once, on the full real training sets, with *augmentation*: in every epoch each picture is moved by a few pixels, and each photograph is mirrored half of the time. So the network sees a picture in many places. Each has a *card* that says how it was trained.

# %% tags=["remove-input"]
from IPython.display import Markdown

names = ("lenet", "mnist_resnet", "cifar_net", "vgg_blocks")
cards = {name: zoo.card(name) for name in names}
lines = ["| network | epochs | training | test (95 % interval) |", "|---|---|---|---|"]
for name, card in cards.items():
    low, high = card["test accuracy 95 %"]
    lines.append(f"| {plots.label(name)} | {card['epochs']} | {card['train accuracy']:.2%} | {card['test accuracy']:.2%} ({low:.2%} to {high:.2%}) |")
Markdown("\n".join(lines))

# %% [markdown]
# The test set was only watched: no epoch and no setting was chosen by it. The interval covers the images, nothing else: it says how far the accuracy on ten thousand other images might be from this one, for this one network.

# %% tags=["remove-input"]
widgets.predict(
    "We train the VGG blocks twice: once with moved and mirrored pictures, once without. Which of the two is right more often on its own training pictures?",
    {"With augmentation: it saw more": "It saw more, so it had more to learn, and could learn less of it by heart.",
     "Without augmentation": "The same pictures come back unchanged, so they can be learnt one by one. With new pictures that does not help, as the figure shows.",
     "The same": "The layers are the same, but what they are asked to remember is not."},
    answer="Without augmentation")

# %% tags=["hide-input", "covered"] mystnb={"image": {"alt": "Two panels, accuracy against epoch, training solid and test dashed, the space between them shaded. Without augmentation the training curve crosses the test curve halfway and runs away upwards, so that the shaded gap widens. With augmentation the two curves stay close together, and the test curve ends higher."}, "figure": {"caption": "The VGG blocks without and with augmentation, one training each. Training accuracy is counted on the batches, with dropout and augmentation on; that is why it can lie below the test curve.", "name": "fig-02-overfitting"}}
plain, augmented = records.read("02-plain-vgg")["values"], cards["vgg_blocks"]
gap = {name: run["train accuracy"] - run["test accuracy"] for name, run in (("plain", plain), ("augmented", augmented))}
panels = plots.axes(2, height=2.8, sharey=True)
for ax, title, run in zip(panels, ("without augmentation", "with augmentation"), (plain, augmented)):
    seen, new = run["history"]["train_accuracy"], run["history"]["validation_accuracy"]
    epochs = range(1, len(seen) + 1)
    ax.fill_between(epochs, seen, new, color=plots.colour("vgg_blocks"), alpha=0.2, linewidth=0)
    ax.locator_params(axis="x", integer=True, nbins=6)
    ax.plot(epochs, seen, color=plots.colour("lenet"), label="training")
    ax.plot(epochs, new, color=plots.colour("mnist_resnet"), linestyle="--", label="test")
    ax.set(xlabel="epoch", ylabel="accuracy", title=title)
    plots.percent(ax)
    ax.legend(loc="lower right")
plots.finish(panels, augmented["source"])

# %% tags=["remove-input", "covered"]
display(records.quote("02-plain-vgg"))
records.say("Counted on the finished networks: without augmentation {a:.2%} of the training and {b:.2%} of the test pictures are named rightly, a gap of {c:.1f} percentage points; "
            "with augmentation {d:.2%} and {e:.2%}, a gap of {f:.1f}. One network of each is no law, and the second was trained twice as long, so not all of the difference in test accuracy is due to the augmentation. It shows what *overfitting* looks like: training pictures known by heart, together with things that hold for no other picture.",
            a=plain["train accuracy"], b=plain["test accuracy"], c=100 * gap["plain"], d=augmented["train accuracy"], e=augmented["test accuracy"],
            f=100 * gap["augmented"], holds=gap["plain"] > gap["augmented"] and plain["test accuracy"] < augmented["test accuracy"])

# %% tags=["remove-input", "covered"]
records.verdict("The VGG blocks know 98.79 % of their training and 82.72 % of their test pictures", source="marinelli", where="slide \"Learning curves\"",
                reported="98.79 % on the training set, 82.72 % on the test set: a gap of sixteen points",
                measured=f"another protocol: {plain['epochs']} epochs with a learning rate that rises and falls, pictures re-encoded as JPEG: {plain['train accuracy']:.2%} and {plain['test accuracy']:.2%}",
                verdict="not tested here",
                why="The size of the gap depends on when one stops. A test would train with the source's settings, SGD with a rate of 0.001 and no augmentation, until the training accuracy is the reported one, on lossless pictures, with several seeds.")

# %% [markdown]
# ## One recipe, five networks
#
# A network is the child of its recipe and of chance: random first weights, a random order of the pictures. We trained two networks from five seeds each, LeNet and a *fully connected* one (dense layers only, 784-100-100-10), and attacked all of them on the same images with the strongest attack of this book, which counts an image as standing only when several attacks have failed on it.

# %% tags=["remove-input"]
widgets.predict(
    "Five LeNets, one recipe, five seeds. Their test accuracies lie within a few tenths of a percentage point. How far apart are their accuracies under attack?",
    {"A few tenths of a point, too": "They are right equally often on honest images. Nothing in training asked them to agree around those images.",
     "About two points": "Chance does more than that.",
     "More than ten points": "Clean accuracy was trained for, and is near its ceiling. Accuracy under attack was not trained for, and chance decides much of it.",
     "Everything from none to all": "Not quite that far: all five fall deep."},
    answer="More than ten points")

# %% tags=["hide-input", "covered"] mystnb={"image": {"alt": "Two panels with one row of five points each for clean accuracy and for accuracy under attack. The five clean points lie on top of each other near one hundred percent; the five points under attack are spread out, in the first panel by far more than in the second."}, "figure": {"caption": "Accuracy of five trainings of one recipe: on the complete test set, and on one thousand of its images under the strongest attack. Every point is one network. The two panels have different epsilons, so they say nothing about which of the two kinds is more robust.", "name": "fig-02-seeds"}}
seeds = {name: records.read(f"02-seeds-{name}")["values"] for name in ("lenet", "fully_connected")}
panels = plots.axes(2, height=1.7)
for ax, (name, found) in zip(panels, seeds.items()):
    for place, what in enumerate(("test accuracy", "strongest")):
        values = found["over seeds"][what]["values"]
        ax.plot(values, [place] * len(values), "o", color=plots.colour(name), alpha=0.7, clip_on=False)
    ax.set_yticks([0, 1], ["no attack", f"eps = {found['eps']:g}"])
    ax.set(xlim=(0, 1), ylim=(1.6, -0.6), xlabel="accuracy", title=plots.label(name))
    plots.percent(ax, "x")
plots.finish(panels, records.read("02-seeds-lenet")["provenance"]["source"])

# %% tags=["remove-input", "covered"]
def spread(name, what):
    values = seeds[name]["over seeds"][what]["values"]
    return 100 * (max(values) - min(values))


display(records.quote("02-seeds-lenet"))
under = seeds["lenet"]["over seeds"]["strongest"]["values"]
records.say("On honest images the five LeNets differ by {a:.2f} percentage points at most. Under attack at eps = 0.1 the best of them keeps {best:.1%} of the same thousand images, and the worst {worst:.1%}. For the fully connected network the largest differences are {c:.2f} points and, at eps = 0.05, {d:.1f}. "
            "So one network of each kind cannot say which *kind* is harder to fool: this book says so only where it has trained at least five of each.",
            a=spread("lenet", "test accuracy"), best=max(under), worst=min(under), c=spread("fully_connected", "test accuracy"), d=spread("fully_connected", "strongest"),
            holds=all(spread(name, "strongest") > 5 * spread(name, "test accuracy") for name in seeds) and spread("lenet", "strongest") > 10 and max(under) < 0.5)

# %% [markdown]
# ## What they get wrong by themselves
#
# A *confusion matrix* counts, for every true class, what the network said. Right answers lie on the diagonal; everything else is a mistake with a name. Choose a network:

# %% tags=["hide-input"]
measured = records.read("02-confusion")
confused = {plots.label(name): found for name, found in measured["values"].items()}


def worst(found):
    """The most frequent mistake: true class, answer, how often."""
    wrong = torch.tensor(found["matrix"]).fill_diagonal_(0)
    true, said = divmod(int(wrong.argmax()), len(wrong))
    return found["classes"][true], found["classes"][said], int(wrong.max())


def describe(network):
    true, answer, count = worst(confused[network])
    return f"Confusion matrix of {network}. Nearly all counts are on the diagonal. The most frequent mistake: {true} taken for {answer}, {count} times."

# %% tags=["remove-input"]
widgets.explore(lambda network: plots.confusion(torch.tensor(confused[network]["matrix"]), confused[network]["classes"], source=measured["provenance"]["source"]),
                network=list(confused), alt=describe,
                caption="Confusion matrices on the full test sets. The stronger the orange, the more frequent the mistake.")

# %% tags=["remove-input"]
lines = []
for name, found in confused.items():
    true, answer, count = worst(found)
    sure = found["mean confidence"]
    lines.append(records.say("- **{net}**: {accuracy:.2%} right (95 % interval {low:.2%} to {high:.2%}). Most frequent mistake: {true} taken for {answer}, {count} times. "
                             "Mean confidence {right:.1%} when right, {wrong:.1%} when wrong.", net=name,
                             **{key: found["accuracy"]["value" if key == "accuracy" else key] for key in ("accuracy", "low", "high")},
                             true=true, answer=answer, count=count, **sure, holds=sure["wrong"] < sure["right"]))
display(*lines, records.quote("02-confusion"))

# %% [markdown]
# They are less sure when they are wrong, but far from modest. Here is the first test image that each of them gets wrong:

# %% tags=["hide-input"] mystnb={"image": {"alt": "Up to four pictures, two digits and two colour pictures, each the first of its test set that the network named below it gets wrong, with the true class, the answer and the confidence."}, "figure": {"caption": "The first test image that each network gets wrong: the true class, the answer and its confidence. No attacker was needed. (The photographs are those of our copy, whose test images are not in CIFAR-10's order.)", "name": "fig-02-first-mistakes"}}
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

plots.grid([plots.image(picture, f"{plots.label(name)}\ntest[{index}]: {true}\n\"{said}\" ({sure:.0%})", frame=False)
            for name, (picture, index, true, said, sure) in mistakes.items()], columns=4, source=f"{mnist.source}; {cifar.source}")

# %% [markdown]
# ## Two changes of one size
#
# Back to the two eights. Perhaps a network simply passes on whatever is done to its input, and makes it larger? Then random noise of the same size would do as much. We change every pixel by plus or minus the same amount, once by the signs that make a twin and once by coin flips, and measure after each layer how long the difference is, as a share of the layer's own answer.

# %% tags=["remove-input"]
widgets.predict(
    "Twin and noise change each pixel equally much. What does LeNet make of the two changes on the way to its logits?",
    {"Both grow alike: a network amplifies": "Then noise of this size would ruin its answers, and it does not.",
     "Both shrink alike: a network averages": "Neither is shorter at the logits than it was in the image.",
     "One grows far more than the other": "The coin flips meet kernels in which most of them cancel; the signs were chosen so that the layers together pass them on."},
    answer="One grows far more than the other")

# %% tags=["covered"]
sample = mnist.sample(300)
coins = torch.randint(0, 2, sample.images.shape, generator=torch.Generator().manual_seed(0))
changed = {"twin": attacks.fgsm(lenet, sample.images, sample.labels, eps=EPS),
           "noise": (sample.images + EPS * (2.0 * coins - 1)).clamp(0, 1)}

def shares(images):
    """Relative length of the change after each layer, median of the images."""
    pairs = zip(walk(lenet, sample.images), walk(lenet, images))
    length = lambda a: a.flatten(1).norm(dim=1)
    share = [length(b - a) / length(a) for (_, a), (_, b) in pairs]
    return [share[stop].median().item() for stop in stops.values()]

grown = {name: shares(images) for name, images in changed.items()}

# %% tags=["hide-input", "covered"] mystnb={"image": {"alt": "Relative length of a change against the layers of LeNet, two lines that begin at the same height. The line of the adversarial twin rises to about three times its start; the line of random noise stays near its start."}, "figure": {"caption": "How large a change is after each layer of LeNet, relative to the layer's own answer: median of the sample. In the image both have nearly the same size.", "name": "fig-02-grown"}}
ax = plots.axes(height=3.2)
for name, look in (("twin", "fgsm"), ("noise", "noise")):
    ax.plot(grown[name], marker="o", color=plots.colour(look), linestyle="-" if name == "twin" else ":", label=name)
ax.set_xticks(range(len(stops)), stops, rotation=45, ha="right")
ax.set(ylabel="relative length of the change", ylim=(0, None))
ax.legend(loc="upper left")
plots.finish(ax, mnist.source)

# %% tags=["remove-input", "covered"]
hit = {name: evaluation.accuracy(lenet, images, sample.labels).value for name, images in changed.items()}
records.say("In the image the twin's change has {begin:.0%} of the picture's length, and the noise {same:.0%}. At the logits the twin's has grown to {twin:.0%}, and the noise has {noise:.0%}. "
            "Of this sample of {n} images LeNet still reads {right:.0%} with the noise, and {wrong:.0%} of the twins.",
            begin=grown["twin"][0], same=grown["noise"][0], twin=grown["twin"][-1], noise=grown["noise"][-1], n=len(sample), right=hit["noise"], wrong=hit["twin"],
            holds=abs(grown["twin"][0] - grown["noise"][0]) < 0.02 and grown["twin"][-1] > 1.5 * grown["twin"][0] and grown["noise"][-1] < 1.5 * grown["noise"][0] and hit["noise"] > hit["twin"])

# %% [markdown]
# :::{container} covered
# So no single layer parts the two eights. The signs were chosen by the gradient, and the gradient runs through all layers: it asks them together which direction they pass on best. How one asks is the subject of [chapter 03](03_one_step.ipynb).
# :::
#
# ## What remains open
#
# The counts and the gradient are exact. Everything about accuracy holds for our data (MNIST, original files; a copy of CIFAR-10 that went through JPEG once) and our trainings; only the section on five seeds speaks about more than one training of a recipe, and it speaks of two recipes. Whether the residual network or the networks for colour pictures are harder to fool than others was not asked here.

# %% tags=["remove-input"]
records.claims([
    dict(claim="LeNet, the ResNet and the network for CIFAR-10 reach the accuracies of the learning curves", source="unam2021", where="appendix A, figures 20 to 22",
         reported="curves of accuracy and loss, without numbers in the text", measured="our own trainings: the table of cards above", verdict="not tested here"),
    dict(claim="Dropout makes training noisy and so regularises the VGG blocks", source="marinelli", where="slide \"CNN Model\"",
         reported="dropout after each block and after the dense layer", measured="no training without dropout", verdict="not tested here"),
    dict(claim="Convolutions reuse the same patterns everywhere, which saves weights and reduces overfitting", source="belaustegui2022", where="section 1.2.5",
         reported="as a known advantage", measured="the saving is counted above; overfitting with and without sharing was not compared", verdict="not tested here"),
])

# %% [markdown]
# ## Exercises
#
# [Exercises for this chapter](../exercises/student/02_networks.ipynb)
#
# 1. **Warm-up.** A network with two hidden neurons, forwards and backwards, with a pencil.
# 2. **Code.** `gradients(W1, b1, W2, b2, x, y)`: the four equations, without autograd.
# 3. **Measurement.** The sizes of ever deeper LeNets, and a printed table in which one row cannot be right.
# 4. **Break it.** Silence LeNet's kernels one at a time. Which one does it miss most?
# 5. **Thought.** A training accuracy sixteen points above the test accuracy: three explanations, and how to tell them apart.
#
# ## Take-away
#
# - A network is a chain of simple steps, and every number in it can be counted with a handful of formulas. Convolutions share their numbers; dense layers do not.
# - A wrong gradient raises no error, and may even learn. Compare with autograd, always.
# - Confidence is not probability. Scaling the logits changes every confidence and no answer, and it can flatten the loss until a gradient vanishes.
# - Trainings of one recipe are right equally often on honest images. Under attack they can differ widely, as our LeNets do. One network is not a kind of network.
# - Of two changes of one size, a network enlarges one several times over and the other hardly.
#
# ## Where the numbers come from
#
# - The four networks: `data/checkpoints/*.safetensors`, each with its card; trained again by `advlens record checkpoint-lenet-mnist` and its like.
# - Training without augmentation: record `02-plain-vgg`. Confusion matrices on the full test sets: `02-confusion`. Five seeds: `02-seeds-lenet`, `02-seeds-fully_connected`. Made again by `advlens record NAME`.
# - Everything else is computed in this chapter when it runs. The data set used stands with each figure.
#
# ## References
#
# ```{bibliography}
# :filter: docname in docnames
# ```
