"""The parts of `local_files`: names, rules and walk for discover; reading, sniff and readers for extract."""
