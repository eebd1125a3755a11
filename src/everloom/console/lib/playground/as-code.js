// A request as the programs that people write: curl, Python and Node with the official SDKs.
import { html, useState } from '../html.js';
import { baseUrl } from '../client.js';
import { Copy, LongText, Tabs } from '../parts.js';

/** A value as Python writes it, over several lines where it is no single one. */
function python(value, depth = 0) {
  if (value === null) return 'None';
  if (typeof value === 'boolean') return value ? 'True' : 'False';
  if (typeof value !== 'object') return JSON.stringify(value);
  const inner = '    '.repeat(depth + 1);
  const outer = '    '.repeat(depth);
  const items = Array.isArray(value)
    ? value.map((one) => python(one, depth + 1))
    : Object.entries(value).map(([key, one]) => `${JSON.stringify(key)}: ${python(one, depth + 1)}`);
  const [open, close] = Array.isArray(value) ? '[]' : '{}';
  return items.length ? `${open}\n${items.map((item) => `${inner}${item},\n`).join('')}${outer}${close}` : open + close;
}

/** A text as one word of a shell's, whatever is in it. */
const quoted = (text) => `'${text.replaceAll("'", `'\\''`)}'`;

function curl({ path, body }) {
  return [
    `curl -N ${quoted(baseUrl() + path)} \\`,
    `  -H "Authorization: Bearer $OPENAI_API_KEY" \\`,
    `  -H "OpenAI-Beta: assistants=v2" \\`,
    `  -H "Content-Type: application/json" \\`,
    `  -d ${quoted(JSON.stringify(body, null, 2))}`,
  ].join('\n');
}

const threadOf = (path) => path.match(/^\/threads\/(thread_[^/]+)\/runs$/)?.[1];

function inPython({ path, body }) {
  const thread = threadOf(path);
  const method = thread ? 'threads.runs.create' : 'threads.create_and_run';
  const given = { ...(thread && { thread_id: thread }), ...body };
  const lines = Object.entries(given).map(([name, value]) => `    ${name}=${python(value, 1)},\n`);
  return [
    'import os',
    '',
    'from openai import OpenAI',
    '',
    `client = OpenAI(base_url=${JSON.stringify(baseUrl())}, api_key=os.environ["OPENAI_API_KEY"])`,
    `stream = client.beta.${method}(\n${lines.join('')})`,
    'for event in stream:',
    '    if event.event == "thread.message.delta":',
    '        for part in event.data.delta.content:',
    '            if part.type == "text":',
    '                print(part.text.value, end="", flush=True)',
  ].join('\n');
}

function inNode({ path, body }) {
  const thread = threadOf(path);
  const method = thread ? 'threads.runs.create' : 'threads.createAndRun';
  const before = thread ? `${JSON.stringify(thread)}, ` : '';
  return [
    "import OpenAI from 'openai';",
    '',
    `const client = new OpenAI({ baseURL: ${JSON.stringify(baseUrl())}, apiKey: process.env.OPENAI_API_KEY });`,
    `const stream = await client.beta.${method}(${before}${JSON.stringify(body, null, 2)});`,
    'for await (const event of stream) {',
    "  if (event.event !== 'thread.message.delta') continue;",
    '  for (const part of event.data.delta.content) {',
    "    if (part.type === 'text') process.stdout.write(part.text.value);",
    '  }',
    '}',
  ].join('\n');
}

const LANGUAGES = [
  { value: 'curl', label: 'curl', write: curl },
  { value: 'python', label: 'Python', write: inPython },
  { value: 'node', label: 'Node', write: inNode },
];

/** `request`: {path, body} of a run that is streamed. */
export function AsCode({ request }) {
  const [language, setLanguage] = useState('curl');
  const text = LANGUAGES.find((one) => one.value === language).write(request);
  return html`
    <div class="as-code">
      <${Tabs} label="Language" tabs=${LANGUAGES} value=${language} onChange=${setLanguage} />
      <${LongText} code text=${text} />
      <${Copy} text=${text} label="Copy the code" />
      <p class="fine">What Send asks, with the message that stands in the field. The key is read from the environment.</p>
    </div>
  `;
}
