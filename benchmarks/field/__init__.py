"""The same distillation by crossdistill, by its peers and by a plain loop: ``python -m benchmarks.field.compare``."""
