"""What objectives are made of: unit rows, exact similarity losses in tiles, the whole bank, and many ranks."""

from crossdistill.objectives.core.base import Against, Objective
from crossdistill.objectives.core.batch import Batch
from crossdistill.objectives.core.columns import TeacherColumns
from crossdistill.objectives.core.similarity_loss import similarity_loss
from crossdistill.objectives.core.temperature import Temperature

__all__ = ["Against", "Batch", "Objective", "TeacherColumns", "Temperature", "similarity_loss"]
