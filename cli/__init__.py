"""The command `tamis`. Each subcommand imports its part when it runs; send and help need the gateway extra alone."""
