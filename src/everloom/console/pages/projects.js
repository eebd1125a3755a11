// The organization's projects: made, renamed, archived.
import { html, useState } from '../lib/html.js';
import { api } from '../lib/client.js';
import { go, href } from '../lib/router.js';
import { Button, ErrorNote, Field, Id, More, Page, Status, Table, Time, say, useList } from '../lib/parts.js';
import { Confirm } from '../lib/confirm.js';
import { FormDialog, bind } from '../lib/organization/asking.js';
import { OrganizationPage } from '../lib/organization/frame.js';

const TITLE = 'Projects';
const LEAD = 'Each has its own assistants, threads, files and keys, and sees no other’s.';

function NameDialog({ project, onDone, onClose }) {
  const name = useState(project?.name ?? '');
  const send = async () => {
    const path = project ? `/organization/projects/${project.id}` : '/organization/projects';
    await api.post(path, { name: name[0].trim() });
    say(project ? 'Renamed' : 'Made');
    onDone();
  };
  return html`
    <${FormDialog} title=${project ? 'Rename the project' : 'New project'} action=${project ? 'Rename' : 'Make it'} send=${send} onClose=${onClose}>
      <${Field} label="Name"><input required maxlength="256" dir="auto" autofocus ...${bind(name)} /><//>
    <//>
  `;
}

function Archive({ project, onDone, onClose }) {
  const archive = async () => {
    await api.post(`/organization/projects/${project.id}/archive`);
    say('Archived');
    onDone();
  };
  return html`
    <${Confirm} title="Archive the project" action="Archive it for good" onConfirm=${archive} onClose=${onClose}>
      <p>The keys of <b><bdi>${project.name}</bdi></b> are refused from now on. An archived project is not opened again.</p>
    <//>
  `;
}

function Actions({ project, open }) {
  if (project.status !== 'active') return html`<span class="faint">–</span>`;
  return html`
    <div class="actions">
      <${Button} href=${href('/members', { project: project.id })}>Members<//>
      <${Button} aria-label=${`Rename ${project.name}`} onClick=${() => open({ kind: 'name', project })}>Rename<//>
      <${Button} kind="danger" aria-label=${`Archive ${project.name}`} onClick=${() => open({ kind: 'archive', project })}>Archive<//>
    </div>
  `;
}

function Projects({ query }) {
  const archived = query.archived === 'true';
  const list = useList('/organization/projects', { include_archived: archived || undefined });
  const [dialog, open] = useState(null);
  const close = () => open(null);
  const done = () => {
    close();
    list.reload();
  };
  const columns = [
    { head: 'Name', cell: (project) => html`<bdi>${project.name}</bdi>` },
    { head: 'Id', cell: (project) => html`<${Id} value=${project.id} />` },
    { head: 'State', cell: (project) => html`<${Status} value=${project.status} />` },
    { head: 'Made', cell: (project) => html`<${Time} at=${project.created_at} />` },
    { head: 'What to do', cell: (project) => html`<${Actions} project=${project} open=${open} />` },
  ];
  const toggle = (event) => go('/projects', { archived: event.currentTarget.checked ? 'true' : '' }, { replace: true });
  return html`
    <${Page} title=${TITLE} lead=${LEAD} actions=${html`<${Button} kind="primary" onClick=${() => open({ kind: 'name' })}>New project<//>`}>
      <label class="check"><input type="checkbox" checked=${archived} onChange=${toggle} /> Archived ones, too</label>
      <${ErrorNote} error=${list.error} retry=${list.reload} />
      ${(list.rows.length > 0 || !list.loading) && !list.error && html`<${Table} caption=${TITLE} columns=${columns} rows=${list.rows} />`}
      <${More} list=${list} />
      ${dialog?.kind === 'name' && html`<${NameDialog} project=${dialog.project} onDone=${done} onClose=${close} />`}
      ${dialog?.kind === 'archive' && html`<${Archive} project=${dialog.project} onDone=${done} onClose=${close} />`}
    <//>
  `;
}

export default function ProjectsPage({ query }) {
  return html`<${OrganizationPage} title=${TITLE} lead=${LEAD}><${Projects} query=${query} /><//>`;
}
