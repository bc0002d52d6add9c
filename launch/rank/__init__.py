"""One process of a job: entry, rendezvous, signals, restarts and outcome."""
