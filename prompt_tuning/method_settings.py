"""The options of methods: for METHOD=NAME, the section NAME of the settings.

A method without options has no section. Settings (settings.py) holds those there are.
"""

from prompt_tuning.sections import Section

SECTIONS: tuple[type[Section], ...] = ()
