"""What the verbs of the command line do, one module per verb: the public functions."""
