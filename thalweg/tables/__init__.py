"""Delta tables: the only package that imports deltalake. It knows no dataset, no schema registry and no broker."""
