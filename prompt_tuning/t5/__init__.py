"""T5: layers, attention, the network with its prompt, decoding."""
