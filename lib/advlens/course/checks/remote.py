"""An answer in another process: the judge calls it as if it were here, and nothing comes back but plain data.

The process of the answer runs `serve`.  The judge's `Answers` fetches values and functions
by name.  What the judge sends is trusted, so it is pickled; what comes back is not: it is
read by torch's weights-only reader, which makes tensors, numbers, texts and containers, and runs nothing.
"""

from __future__ import annotations

import builtins
import io
import pickle
from multiprocessing.connection import Client, Connection

import torch
from torch import Tensor, nn

from advlens.course.checks.closed import CheckFailed, closed_book

LARGEST = 500 * 2**20  # bytes of one reply


# --- the judge's side ------------------------------------------------------------------

class Answers:
    """The names of the other process, fetched through `connection`."""

    def __init__(self, connection: Connection):
        self.connection = connection

    def get(self, names: set[str]) -> dict:
        """Name -> value, of those names that are defined there."""
        return self._ask("get", sorted(names))

    def call(self, handle: int, arguments: tuple, options: dict):
        """The result of the function `handle`; what it did to its arguments is done here as well."""
        import cloudpickle  # also takes the functions and classes that a test defines itself

        modes = torch.is_inference_mode_enabled(), torch.is_grad_enabled(), torch.get_rng_state()
        given = cloudpickle.dumps((arguments, options))
        result, traces, random = self._ask("call", handle, modes, given)
        torch.set_rng_state(random)
        for argument, trace in zip((*arguments, *options.values()), traces):
            _repeat(argument, trace)
        return result

    def _ask(self, *question):
        try:
            self.connection.send_bytes(pickle.dumps(question))
            reply = self.connection.recv_bytes(LARGEST)
        except (EOFError, OSError) as error:  # it ended, was stopped, or sends far too much
            raise Interrupted("the answer did not come back") from error
        kind, *content = torch.load(io.BytesIO(reply), weights_only=True)
        if kind == "raised":
            raise _exception(*content)
        return self._unpacked(content[0])

    def _unpacked(self, node):
        kind, value = node
        if kind == "tensor":
            return value[0].requires_grad_() if value[1] else value[0]
        if kind == "array":
            return value.numpy()
        if kind in ("list", "tuple", "set"):
            return {"list": list, "tuple": tuple, "set": set}[kind](self._unpacked(v) for v in value)
        if kind == "dict":
            return {self._unpacked(k): self._unpacked(v) for k, v in value}
        if kind == "function":
            return RemoteFunction(self, *value)
        if kind == "foreign":
            return type(value, (), {})()
        return value


class Interrupted(Exception):
    """The other process ended, or was stopped."""


class RemoteFunction:
    """A function, or a network, of the other process."""

    def __init__(self, answers: Answers, handle: int, name: str):
        self._answers, self._handle, self.__name__ = answers, handle, name

    def __call__(self, *arguments, **options):
        return self._answers.call(self._handle, arguments, options)

    def __reduce__(self):
        return _own, (self._handle,)  # sent back, it is the function itself


def _exception(name: str, message: str) -> Exception:
    """An exception of that name: a built-in one where there is one, a hint where it was one."""
    if name == "CheckFailed":
        return CheckFailed(message)
    known = getattr(builtins, name, None)
    if not (isinstance(known, type) and issubclass(known, Exception)):
        known = type(name, (Exception,), {})
    try:
        return known(message)
    except TypeError:  # UnicodeDecodeError and its like need more
        return type(name, (Exception,), {})(message)


# --- the answer's side -----------------------------------------------------------------

_HANDLES: list = []


def _own(handle: int):
    return _HANDLES[handle]


def serve(address: str, names: dict) -> None:
    """Answer the judge at `address` out of `names` until it hangs up."""
    with Client(address) as judge:
        answer(judge, names)


def answer(judge: Connection, names: dict) -> None:
    """Give the judge what it asks for, until it hangs up: a value of `names`, or what a function returns."""
    while True:
        try:
            kind, *question = pickle.loads(judge.recv_bytes())
        except (EOFError, ConnectionError):
            return
        try:
            reply = "answer", _get(names, *question) if kind == "get" else _call(*question)
        except Exception as error:  # whatever the answer raises, the judge raises it
            reply = "raised", type(error).__name__, str(error)
        judge.send_bytes(_bytes(reply))


def _bytes(reply) -> bytes:
    file = io.BytesIO()
    torch.save(reply, file)
    return file.getvalue()


def _get(names: dict, wanted: list[str]):
    return _packed({name: names[name] for name in wanted if name in names})


def _call(handle: int, modes: tuple, given: bytes):
    inference, gradients, random = modes
    with torch.inference_mode(inference), torch.set_grad_enabled(gradients), torch.random.fork_rng(devices=[]):
        torch.set_rng_state(random)
        arguments, options = pickle.loads(given)
        handed = (*arguments, *options.values())
        before = [_state(value) for value in handed]
        with closed_book(*handed):
            result = _HANDLES[handle](*arguments, **options)
        traces = [_trace(value, state) for value, state in zip(handed, before)]
        return _packed((result, traces, torch.get_rng_state()))


def _packed(value):
    """[kind, plain data]: what the weights-only reader can read."""
    if value is None or isinstance(value, bool):
        return ["plain", value]
    for base in (int, float, complex, str):
        if isinstance(value, base):
            return ["plain", base(value)]
    if isinstance(value, (torch.dtype, torch.device)):
        return ["plain", value]
    if isinstance(value, Tensor):
        return ["tensor", [value.detach().cpu(), value.requires_grad]]
    if type(value).__module__ == "numpy":
        try:
            return ["array", torch.as_tensor(value)] if getattr(value, "ndim", 0) else ["plain", value.item()]
        except TypeError:  # an array of objects
            return ["foreign", "ndarray"]
    if isinstance(value, dict):
        return ["dict", [[_packed(k), _packed(v)] for k, v in value.items()]]
    for base in (tuple, list, set):
        if isinstance(value, base):
            return [base.__name__, [_packed(v) for v in value]]
    if callable(value):
        _HANDLES.append(value)
        return ["function", [len(_HANDLES) - 1, str(getattr(value, "__name__", type(value).__name__))]]
    return ["foreign", type(value).__name__]


# --- what an answer does to its arguments ------------------------------------------------

class Spy:
    """A forward hook that notes in which mode each module ran.  It travels with its module."""

    def __init__(self):
        self.seen: list[bool] = []

    def __call__(self, module: nn.Module, _) -> None:
        self.seen.append(module.training)


def _spies(model: nn.Module) -> list[Spy]:
    found = (hook for module in model.modules() for hook in module._forward_pre_hooks.values())
    return list({id(hook): hook for hook in found if isinstance(hook, Spy)}.values())


def _state(value):
    if isinstance(value, nn.Module):
        return {key: tensor.clone() for key, tensor in value.state_dict().items()}
    return value.clone() if isinstance(value, Tensor) else None


def _trace(value, before):
    """What became of an argument: of a tensor its content, of a network its mode, gradients, parameters and spies."""
    if isinstance(value, Tensor):
        changed = value.shape != before.shape or not torch.equal(value, before)
        return {"content": value.detach() if changed else None, "requires_grad": value.requires_grad}
    if isinstance(value, nn.Module):
        parameters = list(value.parameters())
        return {"training": [m.training for m in value.modules()],
                "requires_grad": [p.requires_grad for p in parameters],
                "gradients": [p.grad for p in parameters],
                "changed": {k: t for k, t in value.state_dict().items() if not torch.equal(t, before[k])},
                "seen": [spy.seen for spy in _spies(value)]}
    return value.get_state() if isinstance(value, torch.Generator) else None


def _repeat(value, trace) -> None:
    """Do the same to the judge's own argument."""
    if isinstance(value, Tensor):
        if trace["content"] is not None:
            value.data = trace["content"]
        if value.is_leaf and not torch.is_inference_mode_enabled():
            value.requires_grad_(trace["requires_grad"])
    elif isinstance(value, nn.Module):
        for module, training in zip(value.modules(), trace["training"]):
            module.training = training
        for parameter, wanted, gradient in zip(value.parameters(), trace["requires_grad"], trace["gradients"]):
            parameter.requires_grad_(wanted)
            parameter.grad = gradient
        own = value.state_dict()
        for key, tensor in trace["changed"].items():
            own[key].data.copy_(tensor)
        for spy, seen in zip(_spies(value), trace["seen"]):
            spy.seen[:] = seen
    elif isinstance(value, torch.Generator):
        value.set_state(trace)
