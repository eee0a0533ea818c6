"""Frozen models on disk: formats, weights, vocabularies."""
