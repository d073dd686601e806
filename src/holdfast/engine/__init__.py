"""One runner per kind of method: batches, seeds, the query ledger, best-so-far, re-judging."""
