pip install lightly-train
lightly-train pretrain out=out/mine data=sketches model=torchvision/resnet18
lightly-train embed out=sketches.csv data=sketches checkpoint=out/mine/checkpoints/last.ckpt format=csv
