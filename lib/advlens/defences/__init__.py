"""Defences: losses, layers and ways to train that claim robustness, each with its honest test in the book."""
