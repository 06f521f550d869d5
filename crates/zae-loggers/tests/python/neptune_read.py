"""What neptune-scale reads in a database: `neptune_read.py <database> <result>`."""

import json
import struct
import sys
from pathlib import Path

from google.protobuf.unknown_fields import UnknownFieldSet
from neptune_scale.sync.operations_repository import OperationsRepository, OperationType

repository = OperationsRepository(Path(sys.argv[1]))
metadata = repository.get_metadata()
run = {"project": metadata.project, "run_id": metadata.run_id, "creates": [], "assigned": {}, "tags": [], "series": {}}
run["monitoring"], run["shown"] = {}, {}


def known(message):
    assert len(UnknownFieldSet(message)) == 0, message
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            values = [item for item in value.values() if hasattr(item, "ListFields")]
        else:
            values = [value] if hasattr(value, "ListFields") else value
        for item in values:
            known(item)


def plain(value):
    kind = value.WhichOneof("value")
    if kind == "file_ref":
        return [value.file_ref.path, value.file_ref.size_bytes, value.file_ref.mime_type]
    if kind == "histogram":
        own = value.histogram
        return [list(own.bin_edges), own.HasField("densities"), list(own.counts.values) or list(own.densities.values)]
    return getattr(value, kind)


sequence_id = -1
while operations := repository.get_operations(up_to_bytes=4 << 20, from_exclusive=sequence_id):
    for operation in operations:
        sequence_id = operation.sequence_id
        message = operation.operation
        known(message)
        assert message.IsInitialized() and message.ByteSize() <= operation.operation_size_bytes
        if operation.operation_type == OperationType.CREATE_RUN:
            assert message.creation_time.seconds > 1_700_000_000
            run["creates"].append([message.family, message.experiment_id])
            continue
        assert message.timestamp.seconds > 1_700_000_000 and message.HasField("step") == bool(message.append)
        for name, value in message.assign.items():
            run["assigned"][name] = [value.WhichOneof("value"), plain(value)]
        for name, change in message.modify_sets.items():
            run["tags"] += [[name, tag, int(what)] for tag, what in change.string.values.items()]
        for name, value in message.append.items():
            step = message.step.whole * 1_000_000 + message.step.micro
            if value.WhichOneof("value") == "float64":
                bits = struct.unpack("<Q", struct.pack("<d", value.float64))[0]
                series = "monitoring" if name.startswith("runtime/") else "series"
                run[series].setdefault(name, []).append([step, bits])
            else:
                run["shown"].setdefault(name, []).append([step, value.WhichOneof("value"), plain(value)])
run["files"] = {
    file.destination: [Path(file.source_path).read_bytes().hex(), file.mime_type, file.size_bytes, file.is_temporary]
    for file in repository.get_file_upload_requests(1_000_000)
}
assert repository.get_operation_submission_count() == 0
repository.close(cleanup_files=False)
Path(sys.argv[2]).write_text(json.dumps(run))
