from .adversarial_training import AdversarialTraining as AdversarialTraining
from .awp import AWP as AWP
from .dice_ce import DiceCE as DiceCE
from .mart import MART as MART
from .retinanet import RetinaNetObjective as RetinaNetObjective
from .standard import Standard as Standard
from .trades import TRADES as TRADES
