"""Thin shims between this package and trainers; each imports its trainer, so nothing here imports any of them."""
