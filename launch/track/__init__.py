"""What a submission left behind: records, states, waiting and logs."""
