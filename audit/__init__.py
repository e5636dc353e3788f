"""What Kafka holds against what the tables hold: `verify` proves the accounts, `where` finds one record, `rejects` reads quarantines."""
