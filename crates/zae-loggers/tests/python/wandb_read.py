"""Parses a `.wandb` file with W&B's own messages; prints the kinds of its records and what an early one holds."""

import json
import struct
import sys
import zlib

from google.protobuf.json_format import MessageToDict
from google.protobuf.unknown_fields import UnknownFieldSet
from wandb.proto import wandb_internal_pb2


def check(message):
    """All that is in it is known."""
    unknown = [field.field_number for field in UnknownFieldSet(message)]
    assert not unknown, (type(message).__name__, unknown)
    for field, value in message.ListFields():
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for part in value if hasattr(value, "__len__") else [value]:
                check(part)


data = open(sys.argv[1], "rb").read()
assert data[:7] == b":W&B\xe1\xbe\x00", data[:7]
at, record, records = 7, b"", []
while at < len(data):
    left = 32768 - at % 32768
    if left < 7:
        at += left
        continue
    crc, length, kind = struct.unpack("<IHB", data[at : at + 7])
    chunk = data[at + 7 : at + 7 + length]
    assert zlib.crc32(bytes([kind]) + chunk) == crc
    record += chunk
    at += 7 + length
    if kind in (1, 4):
        message = wandb_internal_pb2.Record()
        message.ParseFromString(record)
        check(message)
        records.append(message)
        record = b""
assert record == b""
print(json.dumps([{"kind": r.WhichOneof("record_type"), "num": r.num, "what": MessageToDict(r)} for r in records]))
