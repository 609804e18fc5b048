"""Ways to find a value in a text, or to compare two, without keeping the value."""
