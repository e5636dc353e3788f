"""Arrow schemas of events, as they are decoded and as their Delta table stores them. `schemas.columns` has the mapping's table."""

import pyarrow as pa

from schemas.columns import columns
from thalweg.errors import SchemaClash, UnsupportedSchema


def event_schema(schema_json: str) -> pa.Schema:
    """Give the schema of the batches that events of this Avro schema are decoded to.

    Raises UnsupportedSchema, naming the path of the field.
    """
    return pa.schema([column.field for column in columns(schema_json)])


def table_schema(schema: pa.Schema) -> pa.Schema:
    """Turn the schema of decoded events into that of their table's columns: dictionaries become strings, metadata stays.

    Raises UnsupportedSchema when two columns differ only in case: Delta takes them for one.
    """
    _refuse_twins(schema, "")
    return pa.schema([_stored_field(field) for field in schema])


def check_compatible(table: pa.Schema, batch: pa.Schema) -> None:
    """Refuse columns that the table has with another type. `create_write_transaction` itself checks nothing.

    A dictionary is as good as its values. Columns that only one side has are none of this function's business: the table is
    widened, or the row holds null. Raises SchemaClash, naming the column and both types.
    """
    by_lower_name = {field.name.lower(): field for field in table}
    for field in batch:
        there = by_lower_name.get(field.name.lower())
        if there is None:
            continue
        if there.name != field.name:
            raise SchemaClash(
                f"column {field.name!r}: the table has {there.name!r}, and Delta takes names that differ only in case for one",
                f"name the field {there.name!r} in the event's schema, or give the dataset another name and so a new table",
            )
        expected, found = stored_type(there.type), stored_type(field.type)
        if expected != found:
            raise SchemaClash(
                f"column {field.name!r}: the table stores {expected}, and the events hold {found}",
                "register a schema that keeps the field's type, or add a field of another name;"
                " to start again with the new type, give the dataset another name and so a new table",
            )


def stored_type(kind: pa.DataType) -> pa.DataType:
    """Give the type that the table stores for values of this one."""
    if pa.types.is_dictionary(kind):
        return stored_type(kind.value_type)
    if pa.types.is_large_string(kind):
        return pa.string()
    if pa.types.is_large_binary(kind):
        return pa.binary()
    if pa.types.is_struct(kind):
        return pa.struct([_stored_field(field) for field in kind])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return pa.list_(pa.field("element", stored_type(kind.value_type)))
    if pa.types.is_map(kind):
        return pa.map_(stored_type(kind.key_type), stored_type(kind.item_type))
    return kind


def _stored_field(field: pa.Field) -> pa.Field:
    return pa.field(field.name, stored_type(field.type), metadata=field.metadata)


def _refuse_twins(fields: pa.Schema | pa.DataType, path: str) -> None:
    seen: dict[str, str] = {}
    for field in fields:
        here = f"{path}.{field.name}" if path else field.name
        twin = seen.setdefault(field.name.lower(), field.name)
        if twin != field.name:
            raise UnsupportedSchema(
                f"{here}: there is a field {twin!r} too, and Delta takes names that differ only in case for one",
                "rename one of them",
            )
        inner = field.type
        while pa.types.is_list(inner) or pa.types.is_map(inner):
            inner = inner.value_type if pa.types.is_list(inner) else inner.item_type
        if pa.types.is_struct(inner):
            _refuse_twins(inner, here)
