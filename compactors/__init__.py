"""Keeping tables tidy: merging small files, removing what no kept version needs, ending the life of dates that are declared to end.

`trigger` is the table of contents: it runs `upkeep` over the datasets whose lease this process has. `upkeep` is what is
done for one dataset; `policy` says what to do and is pure.
"""
