from .fixed_class import FixedClass as FixedClass
from .least_likely import LeastLikely as LeastLikely
from .most_likely import MostLikely as MostLikely
from .next_class import NextClass as NextClass
from .random_class import RandomClass as RandomClass
