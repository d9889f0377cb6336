"""The one door to the network: what goes to Kaggle and what comes back.

    competitions, datasets, kernels, submissions, account      what a stage calls; typed records, typed errors
         │ Client.call(name, **arguments) -> JSON              (client.py: timeouts, retries of reads, no secrets)
         │ JSON lines over a private pipe                      (child.py, in a process of its own)
    calls.py, versions.py, transfer.py                         the official client's non-CLI methods

Expects: the official `kaggle` package, and the caller's environment (environment.py says which names pass).
Produces: records of plain values with `.record()`, and files that appear by atomic rename.
Never: prints, exits, waits without a deadline, repeats a write whose answer was lost before it has read back.
"""
