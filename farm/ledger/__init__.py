"""SQLite's truth of the work: schema.sql is its data, `ledger` its only writer, which has four parts.

ledger     opening the file, its transactions; `ledger.runs`, `.jobs`, `.tickets` and `.attempts` are the parts
runs       what was asked for: how a run begins, what it counts, how its state follows from its jobs
jobs       submitting them, and `move`, the one way in which their states change
tickets    what waits, what is ready, what comes first
attempts   leases and how they end
queue      the tickets' table as Huey knows it
ids        numbers that only grow
views      what only reads, for the command line
explain    why a job waits, as a sentence
"""
