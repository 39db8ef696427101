pip install open_clip_torch
python pairs.py
