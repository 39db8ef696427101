pip install torchdistill
python pairs.py
