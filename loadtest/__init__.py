"""The load test: what the farm does on this machine.

A pipeline of small parts: pacer (when jobs arrive) → scenario (what arrives, from TOML) → drive (a real farm
in a process of its own, through its public door) → record (one file of raw events) → report (from the record
alone, any number of times).
"""
