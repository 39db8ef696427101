"""Models in the layout of the Hugging Face Hub: written with a model card, read back, uploaded."""

from crossdistill.hub.download import from_pretrained
from crossdistill.hub.facts import Facts, facts_of
from crossdistill.hub.saving import save_pretrained

__all__ = ["Facts", "facts_of", "from_pretrained", "save_pretrained"]
