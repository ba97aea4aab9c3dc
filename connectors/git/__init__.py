"""The parts of `github` that speak git: address, command, mirror, attributes, and which files are wanted."""
