"""seqio tasks: one of the few places that import TensorFlow."""
