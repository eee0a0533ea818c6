"""The commands: one file for each, with its flags and what it runs."""
