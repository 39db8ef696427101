"""Readers: one file for each form in which pairs come."""
