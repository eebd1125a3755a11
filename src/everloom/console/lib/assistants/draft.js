// An assistant as it is being edited, and what of it goes over the wire.

export const blank = (model = '') => ({
  name: '',
  description: '',
  model,
  instructions: '',
  tools: [],
  tool_resources: {},
  temperature: '',
  top_p: '',
  response_format: 'auto',
  schema: '',
  metadata: '',
});

const shownNumber = (value) => (value === null || value === undefined ? '' : String(value));

export function draftOf(assistant) {
  const format = assistant.response_format;
  return {
    name: assistant.name ?? '',
    description: assistant.description ?? '',
    model: assistant.model,
    instructions: assistant.instructions ?? '',
    tools: assistant.tools,
    tool_resources: assistant.tool_resources ?? {},
    temperature: shownNumber(assistant.temperature),
    top_p: shownNumber(assistant.top_p),
    response_format: typeof format === 'string' ? format : format.type,
    schema: format?.json_schema ? JSON.stringify(format.json_schema, null, 2) : '',
    metadata: Object.keys(assistant.metadata ?? {}).length ? JSON.stringify(assistant.metadata, null, 2) : '',
  };
}

/** What cannot be sent as it is, by field: the rest is the server's to judge. */
export function faults(draft) {
  const found = {};
  if (!draft.model.trim()) found.model = 'An assistant needs a model.';
  for (const name of ['temperature', 'top_p']) {
    if (draft[name] !== '' && !Number.isFinite(Number(draft[name]))) found[name] = 'This is no number.';
  }
  if (draft.response_format === 'json_schema') found.schema = jsonFault(draft.schema);
  if (draft.metadata.trim()) found.metadata = jsonFault(draft.metadata);
  return Object.fromEntries(Object.entries(found).filter(([, fault]) => fault));
}

export function jsonFault(text) {
  try {
    const value = JSON.parse(text);
    return value && typeof value === 'object' && !Array.isArray(value) ? null : 'This has to be a JSON object.';
  } catch (error) {
    return `This is no JSON: ${error.message}`;
  }
}

const asNumber = (text) => (text === '' ? null : Number(text));

function format(draft) {
  if (draft.response_format === 'auto') return 'auto';
  if (draft.response_format !== 'json_schema') return { type: draft.response_format };
  return { type: 'json_schema', json_schema: JSON.parse(draft.schema) };
}

/** The body of a request that makes an assistant of the draft, or changes one into it. */
export const bodyOf = (draft) => ({
  name: draft.name || null,
  description: draft.description || null,
  model: draft.model.trim(),
  instructions: draft.instructions || null,
  tools: draft.tools,
  tool_resources: draft.tool_resources,
  temperature: asNumber(draft.temperature),
  top_p: asNumber(draft.top_p),
  response_format: format(draft),
  metadata: draft.metadata.trim() ? JSON.parse(draft.metadata) : {},
});

const OF_RUNS = ['model', 'instructions', 'tools', 'temperature', 'top_p', 'response_format'];

/** What a run is told over its assistant's own settings, where the draft says otherwise. */
export function overrides(draft, assistant) {
  const mine = bodyOf(draft);
  const theirs = bodyOf(draftOf(assistant));
  const other = OF_RUNS.filter((name) => JSON.stringify(mine[name]) !== JSON.stringify(theirs[name]));
  return Object.fromEntries(other.filter((name) => mine[name] !== null).map((name) => [name, mine[name]]));
}

export const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
