"""What was trained, pushed, submitted and scored, in one SQLite file that only this room opens. Start at `store.Ledger`."""
