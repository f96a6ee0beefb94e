"""The file that an interrupted training goes on from: weights, optimizer, history, and which run it belongs to."""

import json
import os
from dataclasses import asdict
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from advlens.training.settings import architecture, digest, settings

REMEDY = "delete it to start anew, or name another file"


def describe(model: nn.Module, descent: Optimizer, **options: object) -> dict[str, str]:
    """A run in words: net, optimizer, and every option by name.  Raises ValueError for a lambda."""
    groups = [{k: v for k, v in group.items() if k not in ("params", "lr")} for group in descent.param_groups]
    return {"network": f"{type(model).__name__} {digest(architecture(model))}",
            "optimizer": f"{type(descent).__qualname__} {groups}",
            **{name: settings(value, name) for name, value in options.items()}}


def save(path: Path, model: nn.Module, descent: Optimizer, history, best: dict, run: dict[str, str]) -> None:
    """Write tensors and JSON into one safetensors file, whole or not at all."""
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in (best["weights"] or {}).items()}
    state = {f"{index}.{key}": value for index, entries in descent.state_dict()["state"].items()
             for key, value in entries.items() if value is not None}
    tensors |= {f"optimizer.{k}": v for k, v in state.items() if isinstance(v, Tensor)}
    numbers = {k: v for k, v in state.items() if not isinstance(v, Tensor)}
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}  # clone: tied weights share memory
    notes = json.dumps({"run": run, "history": asdict(history), "optimizer": numbers,
                        "best": [best["accuracy"], best["epoch"]]})
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, part, {"notes": notes, "digest": _digest(notes, tensors)})
    os.replace(part, path)


def resume(path: Path, model: nn.Module, descent: Optimizer, history, best: dict, run: dict[str, str]) -> None:
    """Put model, optimizer, history and best weights back to where the file left them.

    Raises ValueError, with everything as it was, for a file that is unreadable, damaged or of another run.
    """
    notes, tensors = _read(path)
    theirs = notes["run"]
    if differing := [f"{key} was {theirs.get(key)}, is {run.get(key)}" for key in {**run, **theirs}
                     if run.get(key) != theirs.get(key)]:
        raise ValueError(f"{path} belongs to another run ({'; '.join(differing)}): {REMEDY}")
    part = lambda prefix: {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    state: dict = {}
    for key, value in [*part("optimizer.").items(), *notes["optimizer"].items()]:
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    descent.load_state_dict({"state": state, "param_groups": descent.state_dict()["param_groups"]})
    model.load_state_dict(part("model."))
    for name, values in notes["history"].items():
        getattr(history, name).extend(values)
    best.update(accuracy=notes["best"][0], epoch=notes["best"][1], weights=part("best.") or None)


def _read(path: Path) -> tuple[dict, dict[str, Tensor]]:
    """Notes and tensors of a file that is what `save` wrote, to the last bit."""
    try:
        with safe_open(path, "pt") as file:
            written = file.metadata()
            notes, known = written["notes"], written["digest"]
            tensors = {k: file.get_tensor(k) for k in file.keys()}
    except Exception as broken:  # safetensors raises its own Rust errors
        raise ValueError(f"{path} is not a readable training checkpoint ({broken}): {REMEDY}") from broken
    if known != _digest(notes, tensors):
        raise ValueError(f"{path} is a damaged training checkpoint: what it holds does not fit its digest: {REMEDY}")
    return json.loads(notes), tensors


def _digest(notes: str, tensors: dict[str, Tensor]) -> str:
    return digest(notes, *(part for key in sorted(tensors) for part in (key, tensors[key])))
