"""Utilities for configs, checkpoints and versions."""
