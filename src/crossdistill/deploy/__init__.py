"""Encoders for other programs: ONNX, torch.export and safetensors, checked on real items (docs/deploy.md)."""

from crossdistill.deploy.exporting import FORMATS, TOLERANCE, Exported, export, export_encoder
from crossdistill.deploy.graph import OPSET
from crossdistill.deploy.parity import Parity

__all__ = ["FORMATS", "OPSET", "TOLERANCE", "Exported", "Parity", "export", "export_encoder"]
