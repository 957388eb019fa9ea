"""The messages between the Functions host and its Python worker, as real protobuf classes.

Only what the worker library reads and writes, from the field names of
https://github.com/Azure/azure-functions-language-worker-protobuf (src/proto/FunctionRpc.proto). Nothing here
goes over a wire, so the field numbers are free.
"""

from types import SimpleNamespace
from typing import Any

from google.protobuf import (  # type: ignore[import-untyped]  # it brings no types
    descriptor_pb2,
    descriptor_pool,
    message_factory,
)

Field = descriptor_pb2.FieldDescriptorProto

SCALARS = {
    "string": Field.TYPE_STRING,
    "bytes": Field.TYPE_BYTES,
    "bool": Field.TYPE_BOOL,
    "int32": Field.TYPE_INT32,
    "sint64": Field.TYPE_SINT64,
    "double": Field.TYPE_DOUBLE,
}

ENUMS = {
    "StatusResult.Status": ["Failure", "Success", "Cancelled"],
    "BindingInfo.Direction": ["in", "out", "inout"],
    "BindingInfo.DataType": ["undefined", "string", "binary", "stream"],
    "RpcHttpCookie.SameSite": ["None", "Lax", "Strict", "ExplicitNone"],
}

# message: its fields, as "name kind"; * before a kind means repeated, <> a map from strings, | a field of the
# one-of
MESSAGES = {
    "RpcException": ["source string", "stack_trace string", "message string"],
    "StatusResult": ["status StatusResult.Status", "result string", "exception RpcException"],
    "WorkerMetadata": [
        "runtime_name string",
        "runtime_version string",
        "worker_version string",
        "worker_bitness string",
        "custom_properties <string>",
    ],
    "WorkerInitResponse": [
        "capabilities <string>",
        "worker_metadata WorkerMetadata",
        "result StatusResult",
    ],
    "BindingInfo": [
        "type string",
        "direction BindingInfo.Direction",
        "data_type BindingInfo.DataType",
        "properties <string>",
    ],
    "RpcRetryOptions": ["max_retry_count int32"],
    "RpcFunctionMetadata": [
        "name string",
        "directory string",
        "script_file string",
        "entry_point string",
        "bindings <BindingInfo>",
        "is_proxy bool",
        "status StatusResult",
        "language string",
        "raw_bindings *string",
        "function_id string",
        "managed_dependency_enabled bool",
        "retry_options RpcRetryOptions",
        "properties <string>",
    ],
    "FunctionMetadataResponse": [
        "function_metadata_results *RpcFunctionMetadata",
        "result StatusResult",
        "use_default_metadata_indexing bool",
    ],
    "FunctionLoadResponse": ["function_id string", "result StatusResult"],
    "NullableString": ["value string"],
    "NullableBool": ["value bool"],
    "NullableDouble": ["value double"],
    "NullableTimestamp": [],
    "RpcHttpCookie": [
        "name string",
        "value string",
        "domain NullableString",
        "path NullableString",
        "expires NullableTimestamp",
        "secure NullableBool",
        "http_only NullableBool",
        "same_site RpcHttpCookie.SameSite",
        "max_age NullableDouble",
    ],
    "RpcHttp": [
        "method string",
        "url string",
        "headers <string>",
        "body TypedData",
        "params <string>",
        "status_code string",
        "query <string>",
        "enable_content_negotiation bool",
        "cookies *RpcHttpCookie",
    ],
    "TypedData": [
        "string |string",
        "json |string",
        "bytes |bytes",
        "http |RpcHttp",
        "int |sint64",
        "double |double",
    ],
    "ParameterBinding": ["name string", "data |TypedData"],
    "RpcTraceContext": ["trace_parent string", "trace_state string", "attributes <string>"],
    "RetryContext": ["retry_count int32", "max_retry_count int32", "exception RpcException"],
    "InvocationRequest": [
        "invocation_id string",
        "function_id string",
        "input_data *ParameterBinding",
        "trigger_metadata <TypedData>",
        "trace_context RpcTraceContext",
        "retry_context RetryContext",
    ],
    "InvocationResponse": [
        "invocation_id string",
        "output_data *ParameterBinding",
        "return_value TypedData",
        "result StatusResult",
    ],
}

# The one-of of each message that has one.
ONE_OF = {"TypedData": "data", "ParameterBinding": "rpc_data"}


def _describe(field: Any, kind: str) -> None:
    if kind in SCALARS:
        field.type = SCALARS[kind]
        return
    field.type = Field.TYPE_ENUM if kind in ENUMS else Field.TYPE_MESSAGE
    field.type_name = f".worker.{kind}"


def _build() -> SimpleNamespace:
    file = descriptor_pb2.FileDescriptorProto(name="worker.proto", package="worker", syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        if name in ONE_OF:
            message.oneof_decl.add(name=ONE_OF[name])
        for number, (field_name, kind) in enumerate((field.split() for field in fields), 1):
            field = message.field.add(name=field_name, number=number, label=Field.LABEL_OPTIONAL)
            if kind.startswith("<"):
                entry = message.nested_type.add(name=f"{field_name.title().replace('_', '')}Entry")
                entry.options.map_entry = True
                _describe(entry.field.add(name="key", number=1, label=Field.LABEL_OPTIONAL), "string")
                _describe(entry.field.add(name="value", number=2, label=Field.LABEL_OPTIONAL), kind[1:-1])
                field.label, kind = Field.LABEL_REPEATED, f"{name}.{entry.name}"
            elif kind.startswith("*"):
                field.label, kind = Field.LABEL_REPEATED, kind[1:]
            elif kind.startswith("|"):
                field.oneof_index, kind = 0, kind[1:]
            _describe(field, kind)
        for path, values in ENUMS.items():
            if path.startswith(f"{name}."):
                enum = message.enum_type.add(name=path.partition(".")[2])
                for number, value in enumerate(values):
                    enum.value.add(name=value, number=number)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    classes: dict[str, Any] = {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"worker.{name}"))
        for name in MESSAGES
    }
    return SimpleNamespace(**classes)


protos = _build()
