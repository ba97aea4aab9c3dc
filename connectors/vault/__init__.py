"""The parts of the obsidian connector: the vault's files, their links, the readers of notes and canvases."""
