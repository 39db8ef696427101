"""A file of random weights for CLIP's towers, as nothing is downloaded here."""

import open_clip
import torch

torch.save(open_clip.create_model("ViT-B-32").state_dict(), "stand-in.pt")
