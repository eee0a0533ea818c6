"""What training ships: a prompt's or a model's file, and its description.

A prompt is a .npy or .safetensors file [P, D] with a JSON of the same name beside it,
its description: the method and its options, the frozen model, the vocabulary, the task
and what is needed to predict with it, the score. Code that uses a prompt takes settings
from the description (`said_settings`) and checks what it loads against it (`check`).
Or it is a folder of PEFT's, whose adapter_config.json says less. What a method trains
that is more than a prompt is a file of its own (extras.py).
"""

from prompt_tuning.exchange.descriptions import (
    check,
    check_one_prompt,
    check_settings,
    check_start,
    check_width,
    description,
    read_description,
    said_settings,
)
from prompt_tuning.exchange.extras import find_extra, load_extra, save_peft_extra
from prompt_tuning.exchange.names import (
    DESCRIPTION,
    EXTRA,
    MODEL,
    MOST_BYTES,
    PROMPT,
    place,
)
from prompt_tuning.exchange.peft import WEIGHTS as PEFT
from prompt_tuning.exchange.prompts import (
    check_prompt_output,
    load_prompt,
    load_step,
    load_task,
    load_tokens,
    save,
    save_peft,
    save_prompt,
)
from prompt_tuning.exchange.texts import in_words, save_text

__all__ = [
    "DESCRIPTION",
    "EXTRA",
    "MODEL",
    "MOST_BYTES",
    "PEFT",
    "PROMPT",
    "check",
    "check_one_prompt",
    "check_prompt_output",
    "check_settings",
    "check_start",
    "check_width",
    "description",
    "find_extra",
    "in_words",
    "load_extra",
    "load_prompt",
    "load_step",
    "load_task",
    "load_tokens",
    "place",
    "read_description",
    "said_settings",
    "save",
    "save_peft",
    "save_peft_extra",
    "save_prompt",
    "save_text",
]
