"""Kernels and their twins: the same functions, and one place that chooses."""

from __future__ import annotations

import contextlib
import importlib
import inspect

import pytest
import torch

from advlens import hebbian, jpeg, kernels, layers
from conftest import SEED

EVERY = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
every_type = pytest.mark.parametrize("name, dtype", [
    (name, dtype) for name in kernels.TYPES for dtype in EVERY])


@pytest.fixture
def choose(monkeypatch):
    """The choice without its memory of earlier ones."""
    monkeypatch.setattr(kernels, "find_spec", lambda wanted: True)
    pytest.importorskip("triton", reason="needs Triton: pip install triton (Linux)")
    real = kernels.implementation.__wrapped__
    return lambda *which: real(*which).__name__.removeprefix("advlens.kernels.")


@every_type
def test_the_kernel_is_chosen_on_a_gpu_for_the_types_that_it_takes(name, dtype, choose, monkeypatch):
    assert choose(name, "cpu", dtype) == name
    assert choose(name, "cuda", dtype) == (f"{name}_triton" if dtype in kernels.TYPES[name] else name)
    monkeypatch.setattr(kernels, "find_spec", lambda wanted: None)
    assert choose(name, "cuda", dtype) == name


# name -> its function, and arguments of one type
CALLS = {
    "jpeg": ("round_trip", lambda t, d: dict(x=torch.ones(1, 1, 8, 8).to(d, t), luminance=torch.ones(8, 8).to(d),
                                             chrominance=torch.ones(8, 8).to(d), subsample=False)),
    "jsma": ("best_pair", lambda t, d: dict(a=torch.ones(1, 3).to(d, t), b=torch.ones(1, 3).to(d, t))),
    "krotov_hopfield": ("update_", lambda t, d: dict(weights=torch.ones(3, 4, device=d),
                                                     images=torch.ones(2, 4).to(d, t), p=2, k=2, delta=0.4, step=0.1)),
    "pairwise": ("forward", lambda t, d: dict(v=torch.ones(1, 3).to(d, t), weight=torch.ones(2, 3).to(d, t))),
}


@every_type
def test_the_table_says_what_the_kernels_take(name, dtype, device):
    kernel = pytest.importorskip(f"advlens.kernels.{name}_triton", reason="needs Triton: pip install triton (Linux)")
    function, arguments = CALLS[name]
    taken = dtype in kernels.TYPES[name]
    with contextlib.nullcontext() if taken else pytest.raises(ValueError, match=str(dtype)):
        getattr(kernel, function)(**arguments(dtype, device))


digits_of = lambda dtype: torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0)).to(dtype)


def pairwise_of(dtype):
    torch.manual_seed(SEED)
    return layers.PairwiseDifference(64, 2).to(dtype)(digits_of(dtype).flatten(1))


# Everything that chooses, and the types that it takes on a CPU.
CHOOSERS = {
    "jpeg": (lambda t: jpeg.JPEG(50)(digits_of(t)), EVERY),
    "krotov_hopfield": (lambda t: hebbian.learn(digits_of(t).flatten(1), 3, epochs=1,
                                                generator=torch.Generator().manual_seed(0)), EVERY),
    "pairwise": (pairwise_of, EVERY[:3]),
}


@pytest.mark.parametrize("name, dtype", [(name, dtype) for name, (_, dtypes) in CHOOSERS.items() for dtype in dtypes])
def test_what_works_on_a_cpu_works_on_a_gpu(name, dtype, choose, monkeypatch):
    """As if this machine's tensors were on a GPU: what the kernel does not take goes to the twin."""
    call, chosen = CHOOSERS[name][0], []
    expected = call(dtype)

    def on_a_gpu(name, device_type, dtype=torch.float32):
        chosen.append(choose(name, "cuda", dtype))
        return importlib.import_module(f"advlens.kernels.{chosen[-1]}")

    monkeypatch.setattr(kernels, "implementation", on_a_gpu)
    tolerance = 0 if dtype == torch.float64 else 2e-2
    torch.testing.assert_close(call(dtype), expected, rtol=tolerance, atol=tolerance)
    assert set(chosen) == {f"{name}_triton" if dtype in kernels.TYPES[name] else name}


@pytest.mark.parametrize("name", kernels.TYPES)
def test_kernel_and_twin_take_the_same_arguments(name):
    pytest.importorskip("triton", reason="needs Triton: pip install triton (Linux)")
    kernel, twin = (importlib.import_module(f"advlens.kernels.{name}{suffix}") for suffix in ("_triton", ""))
    shared = [n for n, f in vars(kernel).items() if inspect.isfunction(f) and f.__module__ == kernel.__name__
              and not n.startswith("_")
              and hasattr(twin, n)]
    assert shared, "the two modules have no function in common"
    for function in shared:
        assert inspect.signature(getattr(kernel, function)) == inspect.signature(getattr(twin, function))


def test_an_unknown_kernel_is_named():
    with pytest.raises(ValueError, match="unknown kernel 'fft'; known: jpeg, jsma"):
        kernels.implementation("fft", "cpu")


@pytest.mark.parametrize("name", kernels.TYPES)
def test_a_kernel_that_is_not_interpreted_refuses_tensors_on_the_cpu(name, monkeypatch):
    pytest.importorskip("triton", reason="needs Triton: pip install triton (Linux)")
    kernel = importlib.import_module(f"advlens.kernels.{name}_triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ValueError, match=f"on cpu; the kernel runs on a GPU, advlens.kernels.{name} everywhere"):
        getattr(kernel, CALLS[name][0])(**CALLS[name][1](torch.float32, "cpu"))
