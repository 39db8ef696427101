"""What the documentation says is tried: every command, every block of code, every link."""
