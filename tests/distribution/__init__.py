"""What is sent to a package index: the source distribution and the wheel."""
