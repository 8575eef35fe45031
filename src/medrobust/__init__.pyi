from . import attack as attack
from . import data as data
from . import defense as defense
from . import objective as objective
from . import threat as threat
from .attack.core.base import Attack as Attack
from .data.core.image_set import ImageSet as ImageSet
from .defense.core.base import Defense as Defense
from .evaluation.call import evaluate as evaluate
from .model.core.checkpoint import load_victim as load_victim
from .model.core.victim import Victim as Victim
from .prediction import Prediction as Prediction
from .result.frame import load_images as load_images
from .result.frame import load_rows as load_rows
from .result.row import Row as Row
from .threat.base import Threat as Threat

__version__: str
