"""Runs the binary's other commands to completion."""

import json
import subprocess

from .gateway import binary, clean_environment


def run(*arguments, **options):
    """Runs a command that must exit with 0; returns its standard output."""
    ended = attempt(*arguments, **options)
    assert ended.returncode == 0, ended
    return ended.stdout


def attempt(*arguments, **options):
    """Runs a command; returns its `returncode`, `stdout` and `stderr`."""
    arguments = [str(argument) for argument in arguments]
    environment = clean_environment() | options.pop("env", {})
    ended = subprocess.run(
        [binary(), *arguments], env=environment, capture_output=True, text=True, timeout=120, **options
    )
    assert "panicked" not in ended.stderr, ended
    return ended


def exported(data_dir, *arguments):
    """Events as `tollgate export` prints them."""
    lines = run("export", "--events", "--data-dir", data_dir, *arguments).splitlines()
    return [json.loads(line) for line in lines]
