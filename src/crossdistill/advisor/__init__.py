"""Advice before any distillation: whether it will help, with how many pairs, and how to begin."""
