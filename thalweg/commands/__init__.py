"""One small module a command or group of commands; `thalweg.cli` finds them by name."""
