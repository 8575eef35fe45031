"""Target rules: the class that a targeted attack aims at."""
