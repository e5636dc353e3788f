"""From Avro bytes to Arrow columns: a plan for each writer schema, and one compiled kernel that runs any plan."""
