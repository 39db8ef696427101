"""Semantic segmentation in the target modality: the student's backbone under a decoder, trained on labelled masks."""

from crossdistill.segmentation.classes import Classes
from crossdistill.segmentation.heads import LightHead, build_head
from crossdistill.segmentation.masks import MaskReader, masked_rows, read_mask
from crossdistill.segmentation.network import Segmenter
from crossdistill.segmentation.preflight import check_masks
from crossdistill.segmentation.protocol import MaskSet, Segmented, segment
from crossdistill.segmentation.training import predict, train_segmenter

__all__ = [
    "Classes", "LightHead", "MaskReader", "MaskSet", "Segmented", "Segmenter", "build_head", "check_masks",
    "masked_rows", "predict", "read_mask", "segment", "train_segmenter",
]  # fmt: skip
