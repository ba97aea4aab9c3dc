"""The parts of the IMAP connector."""
