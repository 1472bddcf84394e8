"""What operators do to a cluster from the command line: plan, apply, settle, look. No daemon needs any of it."""
