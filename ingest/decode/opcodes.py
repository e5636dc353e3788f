"""What a plan and the kernel agree on: opcodes, the layout of a program, and the faults that the kernel can find.

Plain integers, because the kernel compiles them in as constants.
"""

from typing import Final

# A program is a sequence of rows of eight int64.
ROW: Final = 64  # bytes of a row
OP: Final = 0  # byte offsets of a row's words: what to do
VALUES: Final = 8  # address: values, offsets or bits
DATA: Final = 16  # address: bytes of strings
MORE: Final = 24  # address: see UNIQUE_KEYS
CURSOR: Final = 32  # which cursor counts the bytes in DATA, or a list's items
A: Final = 40  # the opcode's own operands; places in the program are row numbers
B: Final = 48
C: Final = 56

# Values of fixed width.
BOOLEAN: Final = 0
INT: Final = 1
LONG: Final = 2
FLOAT: Final = 3
DOUBLE: Final = 4
INT_RANGE: Final = 5  # A to B inclusive
LONG_RANGE: Final = 6  # A to B inclusive, times C
ENUM: Final = 7  # A symbols
DECIMAL: Final = 8  # a length, then that many bytes; magnitude below A * 2**64 + B
DECIMAL_FIXED: Final = 9  # C bytes
# Control.
OPTION: Final = 10  # a union with null: null is branch A; when null go to B
PAD_BIT: Final = 11  # a null's place in a column, one opcode for each width; then go to A
PAD_32: Final = 12
PAD_64: Final = 13
PAD_128: Final = 14
BLOCK_END: Final = 15  # one item is read; the frame says how many are left
UNIQUE_KEYS: Final = (
    16  # a map is read: no key twice. VALUES, DATA: the keys; MORE: the map's offsets; C: room to sort in
)
END: Final = 17  # the record must end here
UNION: Final = 18  # of A branches; in the rows that follow, one for each branch, A says where to go on
JUMP: Final = 19  # go to A
MARK: Final = 20  # a value's bit, set; then go to A
DURATION: Final = 21  # twelve bytes, three numbers to VALUES, DATA and MORE
# From here on VALUES are offsets, int32, of which the first must be 0.
FIRST_WITH_OFFSETS: Final = 32
STRING: Final = 32
BYTES: Final = 33
FIXED: Final = 34  # A bytes
UUID: Final = 35  # text of 36 characters
UUID_FIXED: Final = 36  # 16 bytes, written as text
PAD_OFFSET: Final = 37
BLOCK: Final = 38  # a block of an array or a map: go to A after the last; an item takes at least B bytes

# Faults. A function that reads returns the next position, or minus one of these.
FULL: Final = 1  # no fault of the record: a buffer must grow
CUT: Final = 2
VARINT: Final = 3
INT_OVERFLOW: Final = 4
NOT_BOOLEAN: Final = 5
LENGTH: Final = 6
UTF8: Final = 7
SYMBOL: Final = 8
BRANCH: Final = 9
COUNT: Final = 10
BLOCK_SIZE: Final = 11
EMPTY_ITEMS: Final = 12
LEFT_OVER: Final = 13
RANGE: Final = 14
PRECISION: Final = 15
NOT_UUID: Final = 16
SAME_KEY: Final = 17

# Confluent's frame: a zero and the schema id, four bytes.
PREFIX_BYTES: Final = 5
# Items that take no bytes (null, records of nothing) cost time and memory without costing the sender a byte: a count is
# believed up to here, for all blocks of a record together.
EMPTY_ITEMS_MAX: Final = 4096
# Arrow's offsets are 32 bits.
OFFSET_MAX: Final = 2**31 - 1

UUID_TEXT_BYTES: Final = 36

# Words of the progress that host and kernel hand to and fro.
NEXT: Final = 0  # row to read next
KEPT: Final = 8  # rows kept so far
REJECTED: Final = 16  # rows rejected so far
FULL_ROW: Final = 24  # row of the program whose buffer is full; -1 when all is read
FULL_AT: Final = 32  # where in the data that value starts
PROGRESS_WORDS: Final = 5

# Words of a reject.
REJECT_WORDS: Final = 4  # row in the block, position in the data, row in the program, fault

# Words that the kernel keeps for each array or map it is in.
FRAME_WORDS: Final = 4  # address of BLOCK, items left in the block, where the block must end (0: not said), outer index
