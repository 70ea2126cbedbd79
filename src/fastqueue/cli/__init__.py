"""The command line: `app` declares the commands, the other modules are loaded when one runs."""
