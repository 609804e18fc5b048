"""The command `strongroom`: parse, call, render. Nothing imports it."""
