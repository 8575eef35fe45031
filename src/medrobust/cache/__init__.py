"""The cache from outside: what it holds, whether it is sound, what may go."""
