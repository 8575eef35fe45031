from .ds import DS as DS
from .estimator import CGE as CGE
from .estimator import RGE as RGE
from .zo_ae_ds import ZOAEDS as ZOAEDS
from .zo_ds import ZODS as ZODS
