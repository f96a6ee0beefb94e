"""Adversarial Lenses: the library under a hands-on course on adversarial examples.

Nothing is imported here: `from advlens import data, models` loads what it names, and
plots, widgets and torchvision stay out until they are used.
"""
