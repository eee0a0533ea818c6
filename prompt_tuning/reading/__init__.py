"""Reads prompts: what they lie next to, where they live, and their pictures."""
