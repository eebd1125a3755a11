// The project's assistants.
import { html } from '../lib/html.js';
import { href } from '../lib/router.js';
import { Button, ErrorNote, More, Page, Table, Time, useList } from '../lib/parts.js';

const TOOLS = { file_search: 'file search', code_interpreter: 'code' };
const toolsOf = (assistant) => {
  const functions = assistant.tools.filter((tool) => tool.type === 'function').length;
  const own = assistant.tools.filter((tool) => tool.type !== 'function').map((tool) => TOOLS[tool.type] ?? tool.type);
  return [...own, ...(functions ? [`${functions} function${functions > 1 ? 's' : ''}`] : [])].join(', ') || '–';
};

const COLUMNS = [
  { head: 'Name', cell: (assistant) => html`<bdi>${assistant.name || assistant.id}</bdi>` },
  { head: 'Model', cell: (assistant) => html`<code>${assistant.model}</code>` },
  { head: 'Tools', cell: toolsOf },
  { head: 'Made', cell: (assistant) => html`<${Time} at=${assistant.created_at} />` },
];

export default function Assistants() {
  const list = useList('/assistants');
  return html`
    <${Page}
      title="Assistants"
      lead="A model with instructions, tools and files, to be talked with in threads."
      actions=${html`<${Button} kind="primary" href=${href('/assistants/new')}>New assistant<//>`}
    >
      <${ErrorNote} error=${list.error} retry=${list.reload} />
      ${!(list.loading && !list.rows.length) && !list.error &&
      html`
        <${Table} caption="Assistants" columns=${COLUMNS} rows=${list.rows} open=${(assistant) => href(`/assistants/${assistant.id}`)}
          empty="No assistant yet." />
      `}
      <${More} list=${list} />
    <//>
  `;
}
