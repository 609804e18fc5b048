"""`strongroom helper`: credentials for programs that ask a command. Each protocol has a module, which is pure.

No module but `helper` imports click, which takes longer than all that a protocol needs.
"""
