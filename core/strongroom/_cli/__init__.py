"""The command `strongroom`: parse, call, render. Nothing but `strongroom.commands` imports it.

Each command has a module, which may be short, in the folder of its group in `strongroom --help`. A group of few and
short commands is one module: `write` and `rotate`. A short command may share the module of its sibling: `list` that of
`get`, `stores` that of `plugins`, and all commands about the versions of one secret that of `history`.
"""
