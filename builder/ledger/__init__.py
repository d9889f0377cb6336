"""What was trained, pushed, submitted and scored: facts in one SQLite file, which only this room opens. Start at `store.Ledger`."""
