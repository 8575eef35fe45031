from .adaptive import Adaptive as Adaptive
from .base import Threat as Threat
from .blackbox import BlackBox as BlackBox
from .oblivious import Oblivious as Oblivious
from .reduced import ReducedPrecision as ReducedPrecision
from .surrogate import Surrogate as Surrogate
from .surrogate import VictimSurrogate as VictimSurrogate
from .transfer import Transfer as Transfer
