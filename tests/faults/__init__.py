"""The fault harness: runs that are killed, disks that fill, files that are damaged, and what is there afterwards.

``python -m tests.faults`` runs all of it and prints a table; see docs/faults.md.
"""
