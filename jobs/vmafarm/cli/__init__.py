"""The command line: verbs parse options, call, and print."""
