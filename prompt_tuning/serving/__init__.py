"""Predicting with prompts over one frozen model."""
