"""Distils a teacher of photographs into a student of sketches with torchdistill, and embeds the sketches."""

import csv
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchdistill.common.yaml_util import load_yaml_file
from torchdistill.core.distillation import get_distillation_box
from torchdistill.core.interfaces.registry import register_forward_proc_func
from torchdistill.models.official import get_image_classification_model
from torchvision.transforms import v2


class Pairs(Dataset):
    """The pairs of a manifest."""

    def __init__(self, manifest):
        self.rows = list(csv.DictReader(Path(manifest).read_text().splitlines()))
        self.transform = v2.Compose(
            [
                v2.Resize((224, 224)),
                v2.ToImage(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
            ]
        )

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        row = self.rows[index]
        return [self.transform(Image.open(row[side]).convert("RGB")) for side in ("source", "target")], 0


@register_forward_proc_func
def forward_photo(model, sample_batch, targets=None, supp_dict=None, **kwargs):
    """The teacher sees the photograph."""
    return model(sample_batch[0])


@register_forward_proc_func
def forward_sketch(model, sample_batch, targets=None, supp_dict=None, **kwargs):
    """The student sees the sketch."""
    return model(sample_batch[1])


config = load_yaml_file("pairs.yaml")
teacher, student = (get_image_classification_model(config["models"][name]) for name in ("teacher", "student"))
pairs = Pairs("pairs.csv")
box = get_distillation_box(teacher, student, {"pairs": pairs}, config["train"], torch.device("cpu"), None, False, 1.0)
for epoch in range(box.num_epochs):
    box.pre_epoch_process(epoch=epoch)
    for sample_batch, targets, supp_dict in box.train_data_loader:
        box.pre_forward_process()
        loss = box.forward_process(sample_batch, targets, supp_dict)
        box.post_forward_process(loss=loss)
    box.post_epoch_process()
student.eval()
with torch.inference_mode():
    sketches = torch.cat([student(batch[1]) for batch, _ in DataLoader(pairs, batch_size=64)])
torch.save(sketches, "sketches.pt")
