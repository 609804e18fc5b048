"""The terminal: output, standard streams, input, prompts and confirmations."""
