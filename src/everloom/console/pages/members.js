// Who belongs to the organization, who is invited, and who is in which project.
import { html, useState } from '../lib/html.js';
import { api } from '../lib/client.js';
import { go } from '../lib/router.js';
import { Button, ErrorNote, Field, More, Page, Status, Table, Tabs, Time, say, useList } from '../lib/parts.js';
import { Confirm } from '../lib/confirm.js';
import { FormDialog, bind } from '../lib/organization/asking.js';
import { Command, OrganizationPage } from '../lib/organization/frame.js';
import { ShownOnce } from '../lib/organization/once.js';
import { ProjectChoice, useProjects } from '../lib/organization/projects.js';

const TITLE = 'Members';
const LEAD = 'People of the organization, invites that wait, and who is in which project.';
const VIEWS = [
  { value: 'people', label: 'People' },
  { value: 'invites', label: 'Invites' },
  { value: 'projects', label: 'In projects' },
];

function Role({ value, roles, onChange, label }) {
  return html`
    <select aria-label=${label} value=${value} onChange=${(event) => onChange(event.currentTarget.value)}>
      ${roles.map((role) => html`<option key=${role} value=${role}>${role}</option>`)}
    </select>
  `;
}

const person = (user) => html`<bdi>${user.name || user.email || user.id}</bdi>`;

/** People with their roles; `path` is the organization's list or a project's. A role that is refused stands as it was. */
function People({ path, roles, removing }) {
  const list = useList(path, { limit: 20 });
  const [error, setError] = useState(null);
  const [turn, setTurn] = useState(0);
  const [gone, setGone] = useState(null);
  const change = async (user, role) => {
    setError(null);
    try {
      await api.post(`${path}/${user.id}`, { role });
      say(`${user.email} is ${role}`);
    } catch (failure) {
      setError(failure);
    }
    setTurn(turn + 1);
    list.reload();
  };
  const remove = async () => {
    await api.delete(`${path}/${gone.id}`);
    say('Removed');
    setGone(null);
    list.reload();
  };
  const columns = [
    { head: 'Name', cell: person },
    { head: 'Address', cell: (user) => html`<bdi>${user.email}</bdi>` },
    { head: 'Role', cell: (user) => html`<${Role} key=${turn} value=${user.role} roles=${roles} label=${`Role of ${user.email}`} onChange=${(role) => change(user, role)} />` },
    { head: 'Since', cell: (user) => html`<${Time} at=${user.added_at} />` },
    { head: 'What to do', cell: (user) => html`<${Button} kind="danger" aria-label=${`Remove ${user.email}`} onClick=${() => setGone(user)}>Remove<//>` },
  ];
  return html`
    <${ErrorNote} error=${error ?? list.error} retry=${error ? null : list.reload} />
    ${(list.rows.length > 0 || !list.loading) && !list.error && html`<${Table} caption="People" columns=${columns} rows=${list.rows} empty="Nobody yet." />`}
    <${More} list=${list} />
    ${gone && html`<${Confirm} title="Remove somebody" action="Remove" onConfirm=${remove} onClose=${() => setGone(null)}><p><b>${person(gone)}</b> ${removing}</p><//>`}
  `;
}

function InviteDialog({ onMade, onClose }) {
  const email = useState('');
  const [role, setRole] = useState('reader');
  const send = async () => onMade(await api.post('/organization/invites', { email: email[0].trim(), role }));
  return html`
    <${FormDialog} title="Invite somebody" action="Invite" send=${send} onClose=${onClose}>
      <${Field} label="Address"><input type="email" required autofocus autocomplete="off" ...${bind(email)} /><//>
      <${Field} label="Role" hint="An owner may do everything, a reader reads. Both are let into the default project.">
        <select value=${role} onChange=${(event) => setRole(event.currentTarget.value)}><option>reader</option><option>owner</option></select>
      <//>
    <//>
  `;
}

function Invites() {
  const list = useList('/organization/invites', { limit: 20 });
  const [adding, setAdding] = useState(false);
  const [made, setMade] = useState(null);
  const [gone, setGone] = useState(null);
  const take = async () => {
    await api.delete(`/organization/invites/${gone.id}`);
    say('Taken back');
    setGone(null);
    list.reload();
  };
  const columns = [
    { head: 'Address', cell: (invite) => html`<bdi>${invite.email}</bdi>` },
    { head: 'Role', cell: (invite) => invite.role },
    { head: 'State', cell: (invite) => html`<${Status} value=${invite.status} />` },
    { head: 'Ends', cell: (invite) => html`<${Time} at=${invite.expires_at} />` },
    {
      head: 'What to do',
      cell: (invite) => (invite.status === 'pending' ? html`<${Button} kind="danger" aria-label=${`Take back: the invite of ${invite.email}`} onClick=${() => setGone(invite)}>Take back<//>` : '–'),
    },
  ];
  return html`
    <p><${Button} kind="primary" onClick=${() => setAdding(true)}>Invite somebody<//></p>
    <${ErrorNote} error=${list.error} retry=${list.reload} />
    ${(list.rows.length > 0 || !list.loading) && !list.error && html`<${Table} caption="Invites" columns=${columns} rows=${list.rows} empty="Nobody is invited." />`}
    <${More} list=${list} />
    ${adding &&
    html`<${InviteDialog}
      onMade=${(invite) => {
        setAdding(false);
        setMade(invite);
        list.reload();
      }}
      onClose=${() => setAdding(false)}
    />`}
    ${made &&
    html`
      <${ShownOnce} title=${`An invite for ${made.email}`} what="link" value=${made.accept_url} onClose=${() => setMade(null)}>
        <p>Whoever opens it belongs to the organization; it holds for a week. A key is made where the server is:</p>
        <p><${Command} text=${`everloom keys create --user ${made.email}`} /></p>
      <//>
    `}
    ${gone && html`<${Confirm} title="Take the invite back" action="Take it back" onConfirm=${take} onClose=${() => setGone(null)}><p>The link that <b><bdi>${gone.email}</bdi></b> was sent opens nothing any more.</p><//>`}
  `;
}

function LetIn({ path, onDone, onClose }) {
  const users = useList('/organization/users', { limit: 100 });
  const [user, setUser] = useState('');
  const [role, setRole] = useState('member');
  const send = async () => {
    if (!user) throw new Error('Choose somebody.');
    await api.post(path, { user_id: user, role });
    say('Let in');
    onDone();
  };
  return html`
    <${FormDialog} title="Let somebody in" action="Let in" send=${send} onClose=${onClose}>
      <${Field} label="Who">
        <select value=${user} onChange=${(event) => setUser(event.currentTarget.value)}>
          <option value="">Choose</option>
          ${users.rows.map((one) => html`<option key=${one.id} value=${one.id}>${one.email}</option>`)}
        </select>
      <//>
      <${Field} label="Role"><select value=${role} onChange=${(event) => setRole(event.currentTarget.value)}><option>member</option><option>owner</option></select><//>
    <//>
  `;
}

function InProjects({ query }) {
  const projects = useProjects();
  const [adding, setAdding] = useState(false);
  const [turn, setTurn] = useState(0);
  const project = query.project || projects.rows[0]?.id;
  const path = project && `/organization/projects/${encodeURIComponent(project)}/users`;
  const done = () => {
    setAdding(false);
    setTurn(turn + 1);
  };
  return html`
    <div class="filters"><${ProjectChoice} projects=${projects} value=${project} /><${Button} onClick=${() => setAdding(true)}>Let somebody in<//></div>
    <${ErrorNote} error=${projects.error} retry=${projects.reload} />
    ${path && html`<${People} key=${`${path} ${turn}`} path=${path} roles=${['owner', 'member']} removing="is out of the project at once, with the keys that open it. The person stays in the organization." />`}
    ${adding && path && html`<${LetIn} path=${path} onDone=${done} onClose=${() => setAdding(false)} />`}
  `;
}

function Members({ query }) {
  const view = VIEWS.some((one) => one.value === query.view) ? query.view : query.project ? 'projects' : 'people';
  return html`
    <${Page} title=${TITLE} lead=${LEAD} wide>
      <${Tabs} tabs=${VIEWS} value=${view} label="Whom" onChange=${(value) => go('/members', { ...query, view: value }, { replace: true })} />
      ${view === 'people' && html`<${People} path="/organization/users" roles=${['owner', 'reader']} removing="is out of the organization at once, and all of the person’s keys are refused." />`}
      ${view === 'invites' && html`<${Invites} />`}
      ${view === 'projects' && html`<${InProjects} query=${query} />`}
    <//>
  `;
}

export default function MembersPage({ query }) {
  return html`<${OrganizationPage} title=${TITLE} lead=${LEAD}><${Members} query=${query} /><//>`;
}
