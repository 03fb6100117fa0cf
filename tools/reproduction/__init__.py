"""Reproduce the paper's tables and figures: trainings, provenance and tables."""
