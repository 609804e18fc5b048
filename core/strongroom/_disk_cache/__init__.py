"""The cache on disk: encrypted answers of stores, which the processes of one user on one machine share.

Any damage and any doubt, such as a clock that was set, is a miss with one warning. A wrong value is the worst outcome.
"""
