"""What runs in every rank of a job: entry, rendezvous, signals, restarts and outcome."""
