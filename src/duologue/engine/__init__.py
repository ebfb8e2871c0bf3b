"""Decoding: ids in, ids out. No text and no PyTorch in here."""
