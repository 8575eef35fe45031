"""Tables from rows: ours beside a paper's, on the terminal and in files.

Importing this package is cheap: drawing and data-frame libraries load with the renderer that
needs them.
"""
