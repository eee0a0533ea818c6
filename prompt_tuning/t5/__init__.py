"""T5: layers, attention, the network, decoding. The prompt enters here."""
