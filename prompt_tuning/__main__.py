"""`python -m prompt_tuning COMMAND` is `prompt-tuning COMMAND`."""

from prompt_tuning.cli import console

console()
