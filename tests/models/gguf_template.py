"""A model file with another chat template: the default model made to say that it knows tools."""

import struct
from pathlib import Path

from everloom.models.files.gguf import _exactly, _string, _value

KNOWS_TOOLS = """{%- if tools %}{{- '<|im_start|>system\\nYou may call functions.\\n<tools>' }}
{%- for tool in tools %}{{- '\\n' }}{{- tool | tojson }}{%- endfor %}
{{- '\\n</tools>\\nReturn each call as JSON within <tool_call></tool_call>.<|im_end|>\\n' }}{%- endif %}
{%- for message in messages %}
{%- if message.role == 'tool' %}
{{- '<|im_start|>user\\n<tool_response>\\n' + message.content + '\\n</tool_response><|im_end|>\\n' }}
{%- elif message.tool_calls %}{{- '<|im_start|>assistant' }}
{%- if message.content %}{{- '\\n' + message.content }}{%- endif %}
{%- for tool_call in message.tool_calls %}{%- set call = tool_call.function %}
{{- '\\n<tool_call>\\n{"name": "' }}{{- call.name }}{{- '", "arguments": ' }}
{{- call.arguments | tojson }}{{- '}\\n</tool_call>' }}
{%- endfor %}{{- '<|im_end|>\\n' }}
{%- else %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"""

_ALIGNMENT = 32


def with_template(source: Path, target: Path, template: str) -> Path:
    """``source`` written to ``target`` with ``template`` in its place."""
    with source.open("rb") as file:
        head = _exactly(file, 24)
        _, _, tensors, pairs = struct.unpack("<4sIQQ", head)
        out = head
        for _ in range(pairs):
            start = file.tell()
            key = _string(file)
            kind = _exactly(file, 4)
            _value(file, struct.unpack("<I", kind)[0])
            end = file.tell()
            file.seek(start)
            pair = _exactly(file, end - start)
            if key == b"tokenizer.chat_template":
                text = template.encode()
                pair = struct.pack("<Q", len(key)) + key + kind + struct.pack("<Q", len(text)) + text
            out += pair
        start = file.tell()
        for _ in range(tensors):
            _string(file)
            (dimensions,) = struct.unpack("<I", _exactly(file, 4))
            _exactly(file, 8 * dimensions + 12)
        end = file.tell()
        file.seek(start)
        out += _exactly(file, end - start)
        file.seek(_aligned(end))
        target.write_bytes(out.ljust(_aligned(len(out)), b"\0") + file.read())
    return target


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT
