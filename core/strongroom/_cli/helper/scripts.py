"""The scripts that git and docker find by their names. A separate module, which answers git's `store` at once."""

import sys


def git() -> None:
    """`git-credential-strongroom [OPTIONS] OPERATION`, which is `strongroom [OPTIONS] helper git OPERATION`."""
    if sys.argv[-1] != "store":  # git runs it after each success, and helpers store nothing
        _run("git")


def docker() -> None:
    """`docker-credential-strongroom OPERATION`, which is `strongroom helper docker OPERATION`."""
    _run("docker")


def _run(program: str) -> None:
    from strongroom._cli.main import main

    *options, operation = sys.argv[1:] or ["--help"]
    main([*options, "helper", program, operation])
