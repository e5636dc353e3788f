"""A small schema registry for development, compatible with Confluent's REST interface: `python -m schemas.embedded`.

state     what the log says, in memory; pure
changes   what a request would change, as records to write; pure
records   how the records look: Confluent's own layout of `_schemas`
log       where records are kept: a compacted topic, or memory for tests
service   one writer at a time: decide, write, read back, answer
call      one request, and what may be asked of it
endpoints what each path answers
app       HTTP around it
serve     the process around that
"""
