"""How the theory and the advisor do on data: what docs/theory.md and docs/advise.md report."""
