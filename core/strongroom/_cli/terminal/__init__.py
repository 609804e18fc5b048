"""The terminal: output, standard streams, prompts, progress and completion."""
