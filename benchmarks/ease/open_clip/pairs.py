"""Distils CLIP's image tower into a student of sketches with open_clip's loss, and embeds the sketches."""

import csv
from pathlib import Path

import open_clip
import timm
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

teacher, _, preprocess = open_clip.create_model_and_transforms("ViT-B-32", pretrained="laion2b_s34b_b79k")
student = timm.create_model("resnet18", num_classes=512)
objective = open_clip.ClipLoss()


class Pairs(Dataset):
    """The pairs of a manifest."""

    def __init__(self, manifest):
        self.rows = list(csv.DictReader(Path(manifest).read_text().splitlines()))

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        row = self.rows[index]
        return [preprocess(Image.open(row[side]).convert("RGB")) for side in ("source", "target")]


teacher.eval()
pairs = Pairs("pairs.csv")
optimiser = torch.optim.AdamW(student.parameters(), lr=1e-3)
for _epoch in range(40):
    for photos, sketches in DataLoader(pairs, batch_size=64, shuffle=True, drop_last=True):
        with torch.no_grad():
            wanted = teacher.encode_image(photos, normalize=True)
        found = torch.nn.functional.normalize(student(sketches), dim=1)
        loss = objective(found, wanted, torch.tensor(1 / 0.07))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
student.eval()
with torch.inference_mode():
    sketches = torch.cat([student(sketches) for _, sketches in DataLoader(pairs, batch_size=64)])
torch.save(torch.nn.functional.normalize(sketches, dim=1), "sketches.pt")
