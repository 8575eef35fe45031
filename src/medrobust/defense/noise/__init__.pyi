from .additive import GaussianNoise as GaussianNoise
from .additive import PoissonNoise as PoissonNoise
from .additive import SaltPepperNoise as SaltPepperNoise
from .augmentation import Resizing as Resizing
from .augmentation import Rotation as Rotation
