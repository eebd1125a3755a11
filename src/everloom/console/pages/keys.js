// Keys: those of a project, by its service accounts, and those of the organization. A new one is shown once.
import { html, useState } from '../lib/html.js';
import { api } from '../lib/client.js';
import { go } from '../lib/router.js';
import { Button, ErrorNote, Field, More, Note, Page, Table, Tabs, Time, say, useList } from '../lib/parts.js';
import { Confirm } from '../lib/confirm.js';
import { FormDialog, bind } from '../lib/organization/asking.js';
import { Command, OrganizationPage } from '../lib/organization/frame.js';
import { ShownOnce } from '../lib/organization/once.js';
import { ProjectChoice, useProjects } from '../lib/organization/projects.js';

const TITLE = 'Keys';
const LEAD = 'A project’s key opens its project; an admin key opens the organization, and nothing else.';
const VIEWS = [
  { value: 'projects', label: 'Project keys' },
  { value: 'admin', label: 'Admin keys' },
];

const ownerOf = (key) => key.owner?.user ?? key.owner?.service_account ?? key.owner ?? {};

function NewAccount({ place, onMade, onClose }) {
  const name = useState('');
  const send = async () => onMade((await api.post(`${place}/service_accounts`, { name: name[0].trim() })).api_key);
  return html`
    <${FormDialog} title="New key" action="Make it" send=${send} onClose=${onClose}>
      <p>The key belongs to a service account: to a program, not to a person who may leave.</p>
      <${Field} label="Name" hint="Of the account: what will use it."><input required maxlength="256" dir="auto" autofocus ...${bind(name)} /><//>
    <//>
  `;
}

function NewAdminKey({ onMade, onClose }) {
  const name = useState('');
  const send = async () => onMade(await api.post('/organization/admin_api_keys', { name: name[0].trim() }));
  return html`
    <${FormDialog} title="New admin key" action="Make it" send=${send} onClose=${onClose}>
      <p>It may do all that an owner of the organization may: make and delete keys, set limits, read the audit log.</p>
      <${Field} label="Name"><input required maxlength="256" dir="auto" autofocus ...${bind(name)} /><//>
    <//>
  `;
}

/** A list of keys with what can be done to them. `New` is the dialog that makes one. */
function Keys({ path, New, place, account }) {
  const list = useList(path, { limit: 20 });
  const [adding, setAdding] = useState(false);
  const [made, setMade] = useState(null);
  const [gone, setGone] = useState(null);
  const remove = async () => {
    // A service account's only key goes with its account, as the platform has it.
    const owner = gone.owner?.service_account;
    await api.delete(owner && account ? `${place}/service_accounts/${owner.id}` : `${path}/${gone.id}`);
    say('Deleted');
    setGone(null);
    list.reload();
  };
  const columns = [
    { head: 'Name', cell: (key) => html`<bdi>${key.name || '–'}</bdi>` },
    { head: 'Key', cell: (key) => html`<code>${key.redacted_value}</code>` },
    { head: 'Whose', cell: (key) => html`<bdi>${ownerOf(key).name || ownerOf(key).id || '–'}</bdi>` },
    { head: 'Last used', cell: (key) => html`<${Time} at=${key.last_used_at} />` },
    { head: 'Made', cell: (key) => html`<${Time} at=${key.created_at} />` },
    { head: 'What to do', cell: (key) => html`<${Button} kind="danger" aria-label=${`Delete the key ${key.name} ${key.redacted_value}`} onClick=${() => setGone(key)}>Delete<//>` },
  ];
  return html`
    <p><${Button} kind="primary" onClick=${() => setAdding(true)}>New key<//></p>
    <${ErrorNote} error=${list.error} retry=${list.reload} />
    ${(list.rows.length > 0 || !list.loading) && !list.error && html`<${Table} caption="Keys" columns=${columns} rows=${list.rows} empty="No key yet." />`}
    <${More} list=${list} />
    ${adding &&
    html`<${New}
      place=${place}
      onMade=${(key) => {
        setAdding(false);
        setMade(key);
        list.reload();
      }}
      onClose=${() => setAdding(false)}
    />`}
    ${made && html`<${ShownOnce} title="The new key" what="key" value=${made.value} onClose=${() => setMade(null)} />`}
    ${gone &&
    html`
      <${Confirm} title="Delete the key" action="Delete it" onConfirm=${remove} onClose=${() => setGone(null)}>
        <p>Whoever uses <b><bdi>${gone.name || gone.redacted_value}</bdi></b> is refused within two seconds.</p>
        ${gone.owner?.service_account && html`<p>Its service account goes with it, and all keys that the account has.</p>`}
      <//>
    `}
  `;
}

function ProjectKeys({ query }) {
  const projects = useProjects();
  const project = query.project || projects.rows[0]?.id;
  const place = project && `/organization/projects/${encodeURIComponent(project)}`;
  return html`
    <div class="filters"><${ProjectChoice} projects=${projects} value=${project} /></div>
    <${ErrorNote} error=${projects.error} retry=${projects.reload} />
    ${place && html`<${Keys} key=${place} path=${`${place}/api_keys`} place=${place} New=${NewAccount} account />`}
    <${Note}>
      <p>A person’s key, or one that may only read, is made where the server is:</p>
      <p><${Command} text="everloom keys create --user owner@localhost --read-only" /></p>
    <//>
  `;
}

function AllKeys({ query }) {
  const view = VIEWS.some((one) => one.value === query.view) ? query.view : 'projects';
  return html`
    <${Page} title=${TITLE} lead=${LEAD} wide>
      <${Tabs} tabs=${VIEWS} value=${view} label="Kinds of keys" onChange=${(value) => go('/keys', { ...query, view: value }, { replace: true })} />
      ${view === 'admin' ? html`<${Keys} key="admin" path="/organization/admin_api_keys" New=${NewAdminKey} />` : html`<${ProjectKeys} query=${query} />`}
    <//>
  `;
}

export default function KeysPage({ query }) {
  return html`<${OrganizationPage} title=${TITLE} lead=${LEAD}><${AllKeys} query=${query} /><//>`;
}
