"""A local Kaggle that the official client talks to over HTTP.

Expects: the official `kaggle` client with the environment of `control.environment`.
Produces: the answers of kaggle.com's API, built with kagglesdk's own message classes; executed kernels, scored submissions.
Never: listens elsewhere than on loopback, forwards a request, or shows a solution.

    control        what the rest of kkb calls: up, down, running, environment, status, add_competition
    server         the process: sockets, routes, start and stop
    wire           one request: address form, credentials, message in, message out, errors
    uploads, storage, unpack             bytes in, bytes out, archives
    services       the API in one table; the handlers: account, datasets and deposit (reading and writing), models and
                   shelving, kernels and saving, competitions and submitting
    parcels, sources    what a version is made of; what a kernel mounts
    runner, enrol, fitting                        executing kernels and scoring submissions, adding competitions
    faults, strike, page                 what goes wrong on request, and how; the page for people
    home, store    where things lie on disk; the SQLite file
"""
