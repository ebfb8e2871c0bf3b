"""Slow and plain NumPy, in float64: what the native engine must equal.

formulas   one function for each kernel of csrc/core.h
model      the whole model: every segment at once, every target position at once
"""
