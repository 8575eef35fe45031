"""Tables of rows next to a paper's numbers, on the terminal and in files.

Importing this package is cheap: each renderer loads its drawing and data-frame libraries itself.
"""
