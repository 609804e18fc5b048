"""Real servers and fakes that tests start."""
