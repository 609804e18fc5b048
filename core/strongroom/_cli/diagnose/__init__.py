"""Commands of the group Diagnose: check, doctor, status, and ui with its web page."""
