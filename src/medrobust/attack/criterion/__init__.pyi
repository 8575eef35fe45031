from .boxes_lost import BoxesLost as BoxesLost
from .every_anchor import EveryAnchor as EveryAnchor
from .every_pixel import EveryPixel as EveryPixel
from .jaccard_below import JaccardBelow as JaccardBelow
from .misclassified import Misclassified as Misclassified
from .undetected import Undetected as Undetected
