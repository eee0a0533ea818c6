"""Prompt tuning of a frozen T5, after Lester, Al-Rfou and Constant (EMNLP 2021)."""

__version__ = "0.1.0"
