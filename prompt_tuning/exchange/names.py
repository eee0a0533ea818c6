"""Files' names, and how large a prompt's may be."""

PROMPT, MODEL = "prompt.npy", "model.safetensors"  # in MODEL_DIR
EXTRA = "extra.safetensors"  # of a method that trains more than a prompt
DESCRIPTION = "description.json"  # written when a run starts
MOST_BYTES = 2**30  # of a prompt's file; 100 vectors of the largest T5 have 2 MB
