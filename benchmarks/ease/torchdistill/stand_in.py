"""Random weights where torchvision keeps those that it has downloaded, as nothing is downloaded here."""

import os
from pathlib import Path

import torch
from torchvision.models import ResNet50_Weights, resnet50

folder = Path(os.environ["TORCH_HOME"]) / "hub" / "checkpoints"
folder.mkdir(parents=True)
torch.save(resnet50().state_dict(), folder / Path(ResNet50_Weights.DEFAULT.url).name)
