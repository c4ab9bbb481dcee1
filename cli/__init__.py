"""The command `tamis`. Each subcommand imports its part when it runs: send and help work with the gateway extra alone."""
