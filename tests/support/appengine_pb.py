"""App Engine's remote calls in real Protocol Buffers: the reference that our own code is held against."""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

_TYPES = {
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
}

_LABELS = {
    "optional": descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
    "required": descriptor_pb2.FieldDescriptorProto.LABEL_REQUIRED,
    "repeated": descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED,
}

_MESSAGES = {
    "CreateChannelRequest": """
        required string application_key 1
        optional int32 duration_minutes 2
        repeated string topics 1000
    """,
    "CreateChannelResponse": "optional string token 2 \n optional int32 duration_minutes 3",
    "SendMessageRequest": "required string application_key 1 \n required string message 2",
    "VoidProto": "",
    "Request": """
        required string service_name 2
        required string method 3
        required bytes request 4
        optional string request_id 5
    """,
    "ApplicationError": "required int32 code 1 \n required string detail 2",
    "RpcError": "required int32 code 1 \n optional string detail 2",
    "Response": """
        optional bytes response 1
        optional ApplicationError application_error 3
        optional RpcError rpc_error 5
    """,
}


def _build() -> dict[str, type[Message]]:
    file = descriptor_pb2.FileDescriptorProto(name="channel.proto", package="reference", syntax="proto2")
    for name, text in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for line in filter(None, map(str.strip, text.split("\n"))):
            label, kind, field_name, number = line.split()
            field = message.field.add(name=field_name, number=int(number), label=_LABELS[label])
            if kind in _TYPES:
                field.type = _TYPES[kind]
            else:
                field.type = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
                field.type_name = f".reference.{kind}"
    # A pool of its own: the SDK, where it is installed, has some of these names in the common one.
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"reference.{name}")) for name in _MESSAGES
    }


_CLASSES = _build()

CreateChannelRequest = _CLASSES["CreateChannelRequest"]
CreateChannelResponse = _CLASSES["CreateChannelResponse"]
SendMessageRequest = _CLASSES["SendMessageRequest"]
VoidProto = _CLASSES["VoidProto"]
Request = _CLASSES["Request"]
Response = _CLASSES["Response"]
