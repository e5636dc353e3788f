"""Lineage: collects OpenLineage events, keeps them, and answers where data came from and what depends on it."""
