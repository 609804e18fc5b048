"""`strongroom helper`: credentials for programs that ask a command, each by its own protocol.

No module but `helper` imports click, which takes longer than all that a protocol needs.
"""
