"""The local development stack: a real broker and a registry, found, started, stopped, never confused by a crash."""
