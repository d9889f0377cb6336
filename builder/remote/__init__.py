"""The one door to the network: what goes to Kaggle and what comes back.

    account, competitions, datasets, kernels, submissions      what the rest of kkb calls; typed records, typed errors
         │ Client.call(name, **arguments) -> JSON              client.py: timeouts, retries of reads, no secrets
         │ JSON lines over a private pipe                      process.py -> child.py, in a process of its own
    calls.py, versions.py, streams.py, faults.py               the official client's non-CLI methods
    preflight/, diagnosis.py, forms.py                         what would go wrong, what went wrong, what does not fit

Expects: the official `kaggle` package, and the caller's environment (environment.py says which names pass).
Produces: records of plain values with `.record()`, and files that appear by atomic rename.
Never: prints, exits, waits without a deadline, repeats a write whose answer was lost before it has read back.
"""
