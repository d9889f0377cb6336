"""What continuous integration needs beside the stages: a workflow, verdicts, weights by digest, a rehearsal with tiny weights."""
