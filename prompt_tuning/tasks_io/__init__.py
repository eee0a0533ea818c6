"""seqio tasks: the one place that imports TensorFlow."""
