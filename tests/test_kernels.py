"""Kernels and their twins: the same functions, and one place that chooses."""

from __future__ import annotations

import importlib
import inspect

import pytest
import torch

from advlens import kernels


@pytest.mark.parametrize("name", kernels.NAMES)
def test_on_a_cpu_the_twin_is_chosen(name):
    assert kernels.implementation(name, "cpu").__name__ == f"advlens.kernels.{name}"


@pytest.mark.parametrize("name", kernels.NAMES)
def test_on_a_gpu_the_kernel_is_chosen_where_triton_is(name):
    pytest.importorskip("triton", reason="needs Triton: pip install triton (Linux)")
    assert kernels.implementation(name, "cuda").__name__ == f"advlens.kernels.{name}_triton"


@pytest.mark.parametrize("name", kernels.NAMES)
def test_without_triton_the_twin_serves_a_gpu_too(name, monkeypatch):
    monkeypatch.setattr(kernels, "find_spec", lambda wanted: None)
    kernels.implementation.cache_clear()
    try:
        assert kernels.implementation(name, "cuda").__name__ == f"advlens.kernels.{name}"
    finally:
        kernels.implementation.cache_clear()


@pytest.mark.parametrize("name", kernels.NAMES)
def test_kernel_and_twin_take_the_same_arguments(name):
    pytest.importorskip("triton", reason="needs Triton: pip install triton (Linux)")
    kernel, twin = (importlib.import_module(f"advlens.kernels.{name}{suffix}") for suffix in ("_triton", ""))
    shared = [n for n, f in vars(kernel).items() if inspect.isfunction(f) and f.__module__ == kernel.__name__ and not n.startswith("_")
              and hasattr(twin, n)]
    assert shared, "the two modules have no function in common"
    for function in shared:
        assert inspect.signature(getattr(kernel, function)) == inspect.signature(getattr(twin, function))


def test_an_unknown_kernel_is_named():
    with pytest.raises(ValueError, match="unknown kernel 'fft'; known: jpeg, jsma"):
        kernels.implementation("fft", "cpu")


# name -> a call of the kernel with tensors on the CPU
ON_THE_CPU = {
    "jpeg": lambda m: m.round_trip(torch.zeros(1, 1, 8, 8), torch.ones(8, 8), torch.ones(8, 8), subsample=False),
    "jsma": lambda m: m.best_pair(torch.zeros(1, 3), torch.zeros(1, 3)),
    "krotov_hopfield": lambda m: m.update_(torch.zeros(3, 4), torch.zeros(2, 4), p=2, k=2, delta=0.4, step=0.1),
    "pairwise": lambda m: m.forward(torch.zeros(1, 3), torch.zeros(2, 3)),
}


@pytest.mark.parametrize("name", kernels.NAMES)
def test_a_kernel_that_is_not_interpreted_refuses_tensors_on_the_cpu(name, monkeypatch):
    pytest.importorskip("triton", reason="needs Triton: pip install triton (Linux)")
    kernel = importlib.import_module(f"advlens.kernels.{name}_triton")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(ValueError, match=f"on cpu; the kernel runs on a GPU, advlens.kernels.{name} everywhere"):
        ON_THE_CPU[name](kernel)
