"""Procedural stand-ins for the datasets, written in their on-disk layouts.

They let every path of the benchmark run without a download. A small network learns them and an
attack breaks it, but they are no medical images and no number measured on them means anything else.
"""
