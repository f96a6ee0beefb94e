"""Training: one loop with a progress bar, early stopping and checkpoints that resume exactly."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Callable

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm.auto import tqdm

from advlens.data import Dataset
from advlens.inputs import check_amount, frozen


@dataclass
class History:
    """One entry per epoch: mean of what was made small, training accuracy (on the batches
    as they were trained on), accuracy on the validation set (nan without one), and
    what `watch` answered (nothing without it)."""

    loss: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    validation_accuracy: list[float] = field(default_factory=list)
    watched: list[dict[str, float]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.loss)


Loss = Callable[[Tensor, Tensor], Tensor]  # logits (N, K) and labels (N,) -> one number, the mean over the batch

# What a step makes small: (model, images, labels, loss, generator) -> that number, and the
# logits (N, K) that the training accuracy is counted from.  Every defence that changes how
# a net is trained is one of these.
Objective = Callable[[nn.Module, Tensor, Tensor, Loss, torch.Generator], tuple[Tensor, Tensor]]


def plain(model: nn.Module, x: Tensor, y: Tensor, loss: Loss, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """The plain objective: the loss of the logits of the images as they are."""
    logits = model(x).to(x.dtype)  # (N, K); not bfloat16, in which a loss loses its digits
    return loss(logits, y), logits


def one_cycle(peak: float, epochs: int, warmup: float = 0.2) -> Callable[[float], float]:
    """Learning rate at `epoch` (a float): up linearly to `peak` for a share `warmup` of the epochs, then down linearly to 0."""
    if not 0 < warmup < 1:
        raise ValueError(f"warmup = {warmup}; give a share between 0 and 1")
    top = warmup * epochs
    return lambda epoch: peak * min(epoch / top, (epochs - epoch) / (epochs - top))


def fit(
    model: nn.Module,
    train: Dataset,
    *,
    epochs: int,
    validation: Dataset | None = None,
    optimizer: Callable = torch.optim.Adam,
    learning_rate: float | Callable[[float], float] = 1e-3,
    batch_size: int = 128,
    loss: Loss = F.cross_entropy,
    objective: Objective = plain,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    watch: Callable[[nn.Module, History], dict[str, float]] | None = None,
    patience: int | None = None,
    seed: int = 0,
    bfloat16: bool = False,
    checkpoint: str | os.PathLike | None = None,
    progress: bool = True,
) -> History:
    """Train `model` in place and return its History.

    learning_rate: a number, or a function of the epoch (a float that grows within an
    epoch).  loss: the mean over a batch, from logits and labels.  objective: what is made
    of it, on which images and with which other terms; the defences build theirs.
    augment: (images, generator) -> images, applied to each batch.  watch: asked after
    each epoch, (model, history so far) -> numbers that history.watched keeps.  patience:
    stop after so many epochs without a better validation accuracy, and go back to the
    best weights.  checkpoint: a file written after each epoch; when it exists, training
    goes on from it and ends, on a CPU, with the same bits as without the interruption.
    Raises ValueError for an empty training set, a model whose parameters are all frozen, patience
    without validation and a checkpoint of another run; FloatingPointError when the loss is not finite.
    """
    if len(train) == 0 or epochs < 1 or batch_size < 1:
        raise ValueError(f"nothing to train on: {len(train)} images, epochs = {epochs}, batch_size = {batch_size}")
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError("every parameter of the model is frozen, as `zoo.pretrained` leaves them: call model.requires_grad_() first")
    if patience is not None and (validation is None or patience < 1):
        raise ValueError(f"patience = {patience}: give at least 1, and a validation set to watch")
    rate = learning_rate if callable(learning_rate) else lambda epoch: learning_rate
    device = next(model.parameters()).device
    descent = optimizer(model.parameters(), lr=rate(0.0))
    history, best = History(), {"accuracy": -1.0, "epoch": -1, "weights": None}
    run = {"seed": seed, "batch_size": batch_size, "images": len(train), "epochs": epochs, "optimizer": type(descent).__name__,
           "objective": getattr(objective, "__qualname__", type(objective).__name__)}
    if checkpoint is not None and Path(checkpoint).exists():
        _resume(Path(checkpoint), model, descent, history, best, run)

    for epoch in (bar := tqdm(range(len(history), epochs), initial=len(history), total=epochs,
                              desc="training", unit="epoch", disable=not progress)):
        if patience is not None and epoch - 1 - best["epoch"] >= patience:
            break  # asked before an epoch, so that a run resumed after its end stays ended
        # Everything random in an epoch follows from (seed, epoch), so an epoch can be
        # repeated without its past.  Dropout draws from the global generator: borrow it.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed * 100_003 + epoch)
            _one_epoch(model, train, descent, lambda part: rate(epoch + part), batch_size, loss, objective, augment,
                       torch.Generator().manual_seed(seed * 100_003 + epoch), bfloat16, history)
        score = accuracy(model, validation) if validation is not None else float("nan")
        history.validation_accuracy.append(score)
        if watch is not None:
            history.watched.append(watch(model, history))
        bar.set_postfix(loss=f"{history.loss[-1]:.3f}", train=f"{history.train_accuracy[-1]:.2%}", validation=f"{score:.2%}")
        if patience is not None and score > best["accuracy"]:
            best.update(accuracy=score, epoch=epoch, weights={k: v.clone() for k, v in model.state_dict().items()})
        if checkpoint is not None:
            _save(Path(checkpoint), model, descent, history, best, run)
    if best["weights"] is not None:
        model.load_state_dict(best["weights"])
    model.eval()
    return history


def _one_epoch(model, train, descent, rate, batch_size, loss, objective, augment, generator, bfloat16, history) -> None:
    device = next(model.parameters()).device
    trained = [p for p in model.parameters() if p.requires_grad]
    model.train()
    order = torch.randperm(len(train), generator=generator)
    total, correct = 0.0, 0
    batches = order.split(batch_size)
    for step, rows in enumerate(batches):
        x, y = train.images[rows], train.labels[rows].to(device)  # (B, C, H, W), (B,)
        x = (augment(x, generator) if augment else x).to(device)
        for group in descent.param_groups:
            group["lr"] = rate(step / len(batches))
        with torch.autocast(device.type, torch.bfloat16, enabled=bfloat16):
            value, logits = objective(model, x, y, loss, generator)
        if not torch.isfinite(value):
            raise FloatingPointError(f"the training loss became {value.item()} in step {step}: lower the learning rate")
        descent.zero_grad()
        value.backward(inputs=trained)  # and not into the images, which an objective may have differentiated
        descent.step()
        total += value.item() * len(rows)
        correct += (logits.argmax(1) == y).sum().item()
    history.loss.append(total / len(train))
    history.train_accuracy.append(correct / len(train))


@torch.no_grad()
def accuracy(model: nn.Module, data: Dataset, batch_size: int = 500) -> float:
    """Share of images that the model classifies right, in evaluation mode.  Raises ValueError for no images."""
    if len(data) == 0:
        raise ValueError("no images to classify; give at least one")
    device = next(model.parameters()).device
    with frozen(model):
        hits = sum((model(x.to(device)).argmax(1).cpu() == y).sum().item()
                   for x, y in zip(data.images.split(batch_size), data.labels.split(batch_size)))
    return hits / len(data)


# --- augmentation ------------------------------------------------------------

def shift(pixels: int) -> Callable[[Tensor, torch.Generator], Tensor]:
    """Augmentation: move each image by up to `pixels` in both directions, zeros outside."""

    def augment(x: Tensor, generator: torch.Generator) -> Tensor:
        n, _, height, width = x.shape
        padded = F.pad(x, (pixels,) * 4)  # (N, C, H + 2p, W + 2p)
        dy, dx = torch.randint(0, 2 * pixels + 1, (2, n), generator=generator)
        rows = dy[:, None] + torch.arange(height)  # (N, H)
        columns = dx[:, None] + torch.arange(width)  # (N, W)
        return padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)

    return augment


def flip_and_shift(pixels: int) -> Callable[[Tensor, torch.Generator], Tensor]:
    """Augmentation for photographs: `shift`, and a mirror image half of the time."""
    move = shift(pixels)

    def augment(x: Tensor, generator: torch.Generator) -> Tensor:
        mirrored = torch.rand(len(x), generator=generator) < 0.5
        return move(torch.where(mirrored[:, None, None, None], x.flip(3), x), generator)

    return augment


def noise(sigma: float) -> Callable[[Tensor, torch.Generator], Tensor]:
    """Augmentation: Gaussian noise of standard deviation `sigma`, in pixel units; the result is clipped to [0, 1]."""
    check_amount(sigma, "sigma")

    def augment(x: Tensor, generator: torch.Generator) -> Tensor:
        return (x + sigma * torch.randn(x.shape, generator=generator)).clamp(0, 1)

    return augment


# --- resumable checkpoints -----------------------------------------------------

def _save(path: Path, model, descent, history: History, best: dict, run: dict) -> None:
    """Write tensors and JSON into one safetensors file, atomically."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in (best["weights"] or {}).items()}
    plain = {}
    for index, state in descent.state_dict()["state"].items():
        for key, value in state.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{index}.{key}"] = value
            elif value is not None:
                plain[f"{index}.{key}"] = value
    notes = {"run": run, "history": asdict(history), "optimizer": plain, "best": [best["accuracy"], best["epoch"]]}
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, part, {"notes": json.dumps(notes)})
    os.replace(part, path)


def _resume(path: Path, model, descent, history: History, best: dict, run: dict) -> None:
    try:
        with safe_open(path, "pt") as file:
            notes = json.loads(file.metadata()["notes"])
            tensors = {k: file.get_tensor(k) for k in file.keys()}
    except Exception as broken:  # safetensors raises its own Rust errors
        raise ValueError(f"{path} is not a readable training checkpoint ({broken}): delete it to start anew") from broken
    if notes["run"] != run:
        raise ValueError(f"{path} belongs to another run {notes['run']}, this one is {run}: delete it or name another file")
    part = lambda prefix: {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    try:
        model.load_state_dict(part("model."))
    except RuntimeError as other:
        raise ValueError(f"{path} belongs to another network: delete it or name another file") from other
    state: dict = {}
    for key, value in [*part("optimizer.").items(), *notes["optimizer"].items()]:
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    descent.load_state_dict({"state": state, "param_groups": descent.state_dict()["param_groups"]})
    for name, values in notes["history"].items():
        getattr(history, name).extend(values)
    best.update(accuracy=notes["best"][0], epoch=notes["best"][1], weights=part("best.") or None)
