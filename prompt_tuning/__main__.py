"""`python -m prompt_tuning COMMAND` is `prompt-tuning COMMAND`."""

import sys

from prompt_tuning.cli import main

sys.exit(main())
