"""Procedural phantoms of the datasets, written in their on-disk layouts.

They let every path of the benchmark run without a download. A small network learns them and an
attack breaks it, but they are not medical images and results on them say nothing about real data.
"""
