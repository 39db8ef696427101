"""Random weights where lightly-train keeps its teacher, as nothing is downloaded here."""

import os
from pathlib import Path

import torch
from lightly_train._models.dinov3.dinov3_package import DINOV3_PACKAGE, MODEL_NAME_TO_INFO

folder = Path(os.environ["LIGHTLY_TRAIN_MODEL_CACHE_DIR"])
folder.mkdir(parents=True)
weights = DINOV3_PACKAGE.get_model("vitb16", load_weights=False).state_dict()
torch.save(weights, folder / MODEL_NAME_TO_INFO["vitb16"]["local_path"])
