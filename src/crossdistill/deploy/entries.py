"""Which entry a modality's encoder gets."""

from __future__ import annotations

from crossdistill.deploy.entry import INPUTS, Axis, DecodedEntry, Entry
from crossdistill.deploy.picture_entry import PictureEntry
from crossdistill.deploy.raster_entry import RasterEntry
from crossdistill.deploy.sound_entry import SeriesEntry, SoundEntry
from crossdistill.errors import ConfigError
from crossdistill.modalities import Modality
from crossdistill.modalities.audio import Audio
from crossdistill.modalities.depth import Depth
from crossdistill.modalities.embedding import Embedding
from crossdistill.modalities.image import Image
from crossdistill.modalities.multispectral import Multispectral
from crossdistill.modalities.sketch import Sketch
from crossdistill.modalities.thermal import Thermal
from crossdistill.modalities.timeseries import TimeSeries
from crossdistill.modalities.video import Video


class VectorEntry(DecodedEntry):
    """Vectors ``(B, width)`` as they are stored; their normalisation is in the graph."""

    def __init__(self, modality: Embedding) -> None:
        super().__init__(modality)
        self.input_name = "vectors"
        self.axes = (Axis("values", modality.width),)
        self.meaning = f"vectors of {modality.width} values, as they are stored"
        scaling = {"none": "none", "unit": "to length 1", "standardise": "minus the mean, over the deviation"}
        self.inside = (f"normalisation: {scaling[modality.normalise_with]}",)
        self.outside = ("reading the vector from the file",)


def entry_for(modality: Modality, kind: str = "auto") -> Entry:
    """The entry of an encoder with this preprocessing.

    Args:
        modality: resolved.
        kind: ``auto`` begins with items as a program reads them where that can be, else with decoded ones.

    Raises:
        ConfigError: an unknown kind, or ``read`` where it cannot be.
    """
    if kind not in INPUTS:
        raise ConfigError("Unknown input of a graph.", where="--input", expected=", ".join(INPUTS), received=repr(kind))
    if type(modality) is Embedding:
        return VectorEntry(modality)
    if kind == "decoded":
        return DecodedEntry(modality)
    # The exact class: one that a user derived may decode in another way.
    if type(modality) in (Image, Sketch, Video):
        assert isinstance(modality, Image)
        return PictureEntry(modality)
    if type(modality) is Audio:
        return SoundEntry(modality)
    if type(modality) is TimeSeries:
        return SeriesEntry(modality)
    if isinstance(modality, (Depth, Thermal, Multispectral)) and type(modality) in (Depth, Thermal, Multispectral):
        if not (isinstance(modality, Depth) and modality.representation != "depth"):
            return RasterEntry(modality)
        why = f"the representation {modality.representation} is computed outside of the graph"
    else:
        why = f"what {type(modality).__name__} does to a file is known to its own code alone"
    if kind == "read":
        raise ConfigError(
            "The preprocessing of this modality cannot be put into a graph.", where="--input", received=why,
            fix="use --input decoded (or auto), and decode items as export.json says",
        )  # fmt: skip
    return DecodedEntry(modality, why)
