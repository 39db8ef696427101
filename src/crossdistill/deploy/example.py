"""The example that lies beside an export: reads files as this encoder wants them, and finds the nearest."""

from __future__ import annotations

from crossdistill.deploy.entry import Entry
from crossdistill.deploy.example_readers import reader_for

_ONNX = '''"""Finds the nearest files without PyTorch: python example.py QUERY FILE ...   (pip install {packages})

Takes {takes}.
"""

{imports}

session = onnxruntime.InferenceSession(str(Path(__file__).with_name("{file}")))


def read(path):
{body}


vectors = np.concatenate([session.run(None, {{"{input}": read(path)[None]}})[0] for path in sys.argv[1:]])
if not np.isfinite(vectors).all():
    raise SystemExit("a file has no vector: nothing in it was measured")
for score, path in sorted(zip(vectors[1:] @ vectors[0], sys.argv[2:]), reverse=True)[:10]:
    print(f"{{score:.3f}}  {{path}}")
'''

_PROGRAM = '''"""Finds the nearest files with PyTorch, without crossdistill: python example.py QUERY FILE ...

Takes {takes}.
"""

{imports}

encoder = torch.export.load(Path(__file__).with_name("{file}")).module()


def read(path):
{body}


with torch.no_grad():
    vectors = torch.cat([encoder(torch.from_numpy(read(path))[None]) for path in sys.argv[1:]]).numpy()
if not np.isfinite(vectors).all():
    raise SystemExit("a file has no vector: nothing in it was measured")
for score, path in sorted(zip(vectors[1:] @ vectors[0], sys.argv[2:]), reverse=True)[:10]:
    print(f"{{score:.3f}}  {{path}}")
'''

_STANDARD = {"csv"}


def example_for(entry: Entry, form: str, file: str) -> str:
    """The program for an export with this entry.

    Args:
        entry: of the exported graph.
        form: ``onnx`` or ``torch-export``.
        file: name of the graph's file, beside the example.
    """
    reader = reader_for(entry)
    runtime = "onnxruntime" if form == "onnx" else "torch"
    standard = sorted(["import sys", *(f"import {name}" for name in reader.packages if name in _STANDARD)])
    others = [name for name in reader.packages if name not in _STANDARD]
    lines = sorted(["import numpy as np", f"import {runtime}", *(f"import {name}" for name in others if name != "PIL")])
    if "PIL" in others:
        lines.append("from PIL import Image, ImageOps" if "ImageOps" in reader.body else "from PIL import Image")
    installed = " ".join(["onnxruntime", "numpy", *("pillow" if name == "PIL" else name for name in others)])
    template = _ONNX if form == "onnx" else _PROGRAM
    return template.format(
        imports="\n".join([*standard, "from pathlib import Path", "", *lines]), body=reader.body, file=file,
        input=entry.input_name, packages=installed, takes=reader.takes,
    )  # fmt: skip
