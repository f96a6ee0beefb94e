"""The loop: batches, objective, optimizer; a progress bar, early stopping, and a file to go on from."""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from advlens.data import Dataset
from advlens.inputs import check_at_least_one, forward, logits
from advlens.training import checkpoint as files


@dataclass
class History:
    """One entry per epoch: mean of what was made small, training accuracy (on the batches
    as they were trained on), accuracy on the validation set (nan without one), what
    `watch` answered (nothing without it), and the seconds it took."""

    loss: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    watched: list[dict[str, float]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list, compare=False)

    def __len__(self) -> int:
        return len(self.loss)


Loss = Callable[[Tensor, Tensor], Tensor]  # logits (N, K) and labels (N,) -> one number, the mean over the batch

# What a step makes small: (model, images, labels, loss, generator) -> that number, and the
# logits (N, K) that the training accuracy is counted from.  Every defence that changes how
# a net is trained is one of these.  One that changes during training has a method
# `at(epoch) -> Objective`: what it is at that moment, a float, as a learning rate gets it.
Objective = Callable[[nn.Module, Tensor, Tensor, Loss, torch.Generator], tuple[Tensor, Tensor]]


def plain(model: nn.Module, x: Tensor, y: Tensor, loss: Loss, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The plain objective: the loss of the logits of the images as they are."""
    logits = forward(model, x)  # (N, K) in the precision of the images: in bfloat16 a loss loses its digits
    return loss(logits, y), logits


class Plan(NamedTuple):
    """What `fit` was told about one step."""

    learning_rate: float | Callable[[float], float]
    batch_size: int
    loss: Loss
    objective: Objective
    augment: Callable[[Tensor, torch.Generator], Tensor] | None
    seed: int
    bfloat16: bool

    def rate(self, epoch: float) -> float:
        """The learning rate at `epoch`."""
        return self.learning_rate(epoch) if callable(self.learning_rate) else self.learning_rate

    def goal(self, epoch: float) -> Objective:
        """The objective as it is at `epoch`: itself, unless it changes during training."""
        return self.objective.at(epoch) if hasattr(self.objective, "at") else self.objective


def fit(model: nn.Module, train: Dataset, *, epochs: int, validation: Dataset | None = None,
        optimizer: Callable = torch.optim.Adam, learning_rate: float | Callable[[float], float] = 1e-3,
        batch_size: int = 128, loss: Loss = F.cross_entropy, objective: Objective = plain,
        augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
        watch: Callable[[nn.Module, History], dict[str, float]] | None = None, patience: int | None = None,
        seed: int = 0, bfloat16: bool = False, checkpoint: str | os.PathLike | None = None,
        progress: bool = True) -> History:
    """Train `model` in place and return its History.

    learning_rate: a number, or a function of the epoch (a float that grows within an
    epoch).  loss: the mean over a batch, from logits and labels.  objective: what is made
    of it, on which images and with which other terms; the defences build theirs.
    augment: (images, generator) -> images, applied to each batch.  watch: asked after
    each epoch, (model, history so far) -> numbers that history.watched keeps.  patience:
    stop after so many epochs without a better validation accuracy, and go back to the
    best weights.  bfloat16: the net computes in it, the loss does not; only some processors gain.
    checkpoint: a file written after each epoch; when it exists, training goes on from it
    and ends, on a CPU, with the same bits as without the interruption.  It belongs to one
    run: same architecture, data, optimizer and options, each told by `training.settings`, so
    the options are values such as `one_cycle`, `shift` and the objectives of `defences`.
    Raises ValueError for an empty training set, a model whose parameters are all frozen, patience
    without validation, and a checkpoint that is damaged or of another run, which leaves the model as it
    was; with a checkpoint also for an option that does not tell its settings (a lambda);
    FloatingPointError when the loss or the weights are not finite.
    """
    check_at_least_one(epochs=epochs, batch_size=batch_size)
    if len(train) == 0:
        raise ValueError("nothing to train on: 0 images")
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError("every parameter of the model is frozen, as `zoo.pretrained` leaves them: "
                         "call model.requires_grad_() first")
    if patience is not None and (validation is None or patience < 1):
        raise ValueError(f"patience = {patience}: give at least 1, and a validation set to watch")
    plan = Plan(learning_rate, batch_size, loss, objective, augment, seed, bfloat16)
    device = next(model.parameters()).device
    descent = optimizer(model.parameters(), lr=plan.rate(0.0))
    history, best = History(), {"accuracy": -1.0, "epoch": -1, "weights": None}
    if checkpoint is not None:
        run = files.describe(model, descent, **plan._asdict(), epochs=epochs, patience=patience,
                             train=train, validation=validation, watch=watch)
        if Path(checkpoint).exists():
            files.resume(Path(checkpoint), model, descent, history, best, run)

    for epoch in (bar := tqdm(range(len(history), epochs), initial=len(history), total=epochs,
                              desc="training", unit="epoch", disable=not progress)):
        if patience is not None and epoch - 1 - best["epoch"] >= patience:
            break  # asked before an epoch, so that a run resumed after its end stays ended
        began = time.monotonic()
        # Everything random in an epoch follows from (seed, epoch), so an epoch can be
        # repeated without its past.  Dropout draws from the global generator: borrow it.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed * 100_003 + epoch)
            _one_epoch(model, train, descent, plan, epoch, history)
        score = accuracy(model, validation) if validation is not None else float("nan")
        history.validation_accuracy.append(score)
        if watch is not None:
            history.watched.append(watch(model, history))
        history.seconds.append(time.monotonic() - began)
        bar.set_postfix(loss=f"{history.loss[-1]:.3f}", train=f"{history.train_accuracy[-1]:.2%}",
                        validation=f"{score:.2%}")
        if patience is not None and score > best["accuracy"]:
            best.update(accuracy=score, epoch=epoch, weights={k: v.clone() for k, v in model.state_dict().items()})
        if checkpoint is not None:
            files.save(Path(checkpoint), model, descent, history, best, run)
    if best["weights"] is not None:
        model.load_state_dict(best["weights"])
    model.eval()
    return history


def _one_epoch(model: nn.Module, train: Dataset, descent: torch.optim.Optimizer, plan: Plan, epoch: int,
               history: History) -> None:
    device = next(model.parameters()).device
    trained = [p for p in model.parameters() if p.requires_grad]
    model.train()
    generator = torch.Generator().manual_seed(plan.seed * 100_003 + epoch)
    batches = torch.randperm(len(train), generator=generator).split(plan.batch_size)
    total, correct = 0.0, 0
    for step, rows in enumerate(batches):
        now = epoch + step / len(batches)
        x, y = train.images[rows], train.labels[rows].to(device)  # (B, C, H, W), (B,)
        x = (plan.augment(x, generator) if plan.augment else x).to(device)
        for group in descent.param_groups:
            group["lr"] = plan.rate(now)
        objective = plan.goal(now)
        with torch.autocast(device.type, torch.bfloat16, enabled=plan.bfloat16):
            value, logits = objective(model, x, y, plan.loss, generator)
        if not torch.isfinite(value):
            raise FloatingPointError(f"the training loss became {value.item()} in step {step}: lower the learning rate")
        descent.zero_grad()
        value.backward(inputs=trained)  # and not into the images, which an objective may have differentiated
        descent.step()
        total += value.item() * len(rows)
        correct += (logits.argmax(1) == y).sum().item()
    if not all(p.isfinite().all() for p in trained):  # what the last step did, no loss has seen
        raise FloatingPointError(f"the weights are not finite after epoch {epoch + 1}: lower the learning rate")
    history.loss.append(total / len(train))
    history.train_accuracy.append(correct / len(train))


def accuracy(model: nn.Module, data: Dataset, batch_size: int = 500) -> float:
    """Share of images that the model classifies right, in evaluation mode.  Raises ValueError for no images."""
    if len(data) == 0:
        raise ValueError("no images to classify; give at least one")
    return (logits(model, data.images, batch_size).argmax(1) == data.labels).sum().item() / len(data)
