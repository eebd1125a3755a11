// Server-sent events out of a response's body: {event, data, id} each, as the HTML standard frames them.

/** The lines of a body, whatever the chunks that it came in. */
async function* lines(body) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  try {
    for (;;) {
      const { value, done } = await reader.read();
      rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
      const parts = rest.split(/\r\n|\n|\r(?!$)/);
      rest = parts.pop();
      yield* parts;
      if (done) break;
    }
    if (rest) yield rest.replace(/\r$/, '');
  } finally {
    reader.cancel().catch(() => {});
  }
}

/** The events of a body. Comments and unknown fields are passed over; an event without data is none. */
export async function* events(body) {
  let event = '';
  let id;
  let data = [];
  for await (const line of lines(body)) {
    if (line === '') {
      if (data.length) yield { event: event || 'message', data: data.join('\n'), id };
      event = '';
      data = [];
      continue;
    }
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') event = value;
    else if (field === 'data') data.push(value);
    else if (field === 'id') id = value;
  }
}
