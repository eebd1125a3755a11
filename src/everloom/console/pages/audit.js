// Who did what to the organization, the newest first, and whether the log is what was written.
import { html, useEffect, useState } from '../lib/html.js';
import { api } from '../lib/client.js';
import { go, route } from '../lib/router.js';
import { Button, ErrorNote, Field, Id, Json, More, Note, Page, Table, Time, number, useList } from '../lib/parts.js';
import { Command, OrganizationPage } from '../lib/organization/frame.js';
import { ProjectChoice, useProjects } from '../lib/organization/projects.js';

const TITLE = 'Audit log';
const LEAD = 'Who did what to the organization. Each event bears the hash of the one before it.';
const AGAIN_MS = 2000;

/** The types that this server tells of (docs/audit.md). */
const TYPES = [
  ...['api_key.created', 'api_key.deleted'],
  ...['invite.sent', 'invite.accepted', 'invite.deleted'],
  ...['login.failed', 'organization.updated'],
  ...['project.created', 'project.updated', 'project.archived'],
  ...['rate_limit.updated', 'rate_limit.deleted'],
  ...['service_account.created', 'service_account.updated', 'service_account.deleted'],
  ...['user.added', 'user.updated', 'user.deleted'],
];

function actorOf(event) {
  const actor = event.actor?.api_key ?? event.actor?.session ?? {};
  const who = actor.user ?? actor.service_account ?? {};
  return who.email || who.id || actor.id || '–';
}

const placeOf = (event) => {
  const actor = event.actor?.session ?? event.actor?.api_key ?? {};
  return actor.ip_address || actor.user_agent || actor.id || '–';
};

function Details({ event }) {
  const [open, setOpen] = useState(false);
  return html`
    <details onToggle=${(toggled) => setOpen(toggled.currentTarget.open)}>
      <summary aria-label=${`Details of ${event.type}`}>Details</summary>
      ${open && html`<${Json} value=${event} />`}
    </details>
  `;
}

const COLUMNS = [
  { head: 'When', cell: (event) => html`<${Time} at=${event.effective_at} />` },
  { head: 'What', cell: (event) => html`<code>${event.type}</code>` },
  { head: 'Of what', cell: (event) => (event[event.type]?.id ? html`<${Id} value=${event[event.type].id} />` : '–') },
  { head: 'Project', cell: (event) => html`<bdi>${event.project?.name ?? '–'}</bdi>` },
  { head: 'By whom', cell: (event) => html`<bdi>${actorOf(event)}</bdi>` },
  { head: 'From', cell: (event) => html`<bdi>${placeOf(event)}</bdi>` },
  { head: 'All of it', cell: (event) => html`<${Details} event=${event} />` },
];

// --- verify ----------------------------------------------------------------------------------------------------------

function Outcome({ found }) {
  if (found.faults_total > 0) {
    return html`
      <${Note} kind="bad">
        <p>${number(found.faults_total)} ${found.faults_total === 1 ? 'thing is' : 'things are'} not as written. The first:</p>
        <ul>${found.faults.slice(0, 10).map((fault, at) => html`<li key=${at}><bdi>${fault.text}</bdi></li>`)}</ul>
        <p>Before that, ${number(found.rows)} rows are good.</p>
      <//>
    `;
  }
  return html`
    <${Note} kind="good">
      <p>${number(found.rows)} events are what was written.</p>
      ${found.signed
        ? html`<p>Signed up to event ${number(found.signed.seq)}, <${Time} at=${found.signed.at} />, by key <code>${found.signed.key.slice(0, 16)}…</code></p>`
        : html`<p>No checkpoint vouches for them yet: one is signed every hour.</p>`}
    <//>
  `;
}

function Verify() {
  const [state, setState] = useState({});
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    if (!turn) return undefined;
    const going = new AbortController();
    let timer;
    const ask = () =>
      api.get('/organization/audit_logs/verification', {}, { signal: going.signal }).then(
        (found) => {
          if (found.status === 'completed') setState({ found });
          else timer = setTimeout(ask, AGAIN_MS);
        },
        (error) => error.name !== 'AbortError' && setState({ error }),
      );
    setState({ busy: true });
    ask();
    return () => {
      clearTimeout(timer);
      going.abort();
    };
  }, [turn]);
  return html`
    <section class="section card" aria-labelledby="verify">
      <h2 id="verify">Is it whole?</h2>
      <p>The server reads all of it, by its own key and witness. What convinces somebody else is the same elsewhere, with a copy of the key and a witness:</p>
      <p><${Command} text="everloom audit verify" /></p>
      <div class="actions">
        <${Button} kind="primary" busy=${state.busy} onClick=${() => setTurn(turn + 1)}>${state.busy ? 'Reading…' : 'Verify'}<//>
        ${state.found && html`<span class="fine">Read <${Time} at=${state.found.verified_at} /></span>`}
      </div>
      <div aria-live="polite">
        ${state.found && html`<${Outcome} found=${state.found} />`}
        <${ErrorNote} error=${state.error} />
      </div>
    </section>
  `;
}

// --- the list --------------------------------------------------------------------------------------------------------

const dayAt = (text, days) => {
  const at = Date.parse(`${text}T00:00:00Z`);
  return Number.isNaN(at) ? undefined : at / 1000 + days * 86_400;
};

function Filters({ query, projects }) {
  const set = (name) => (event) => go('/audit', { ...route().query, [name]: event.currentTarget.value.trim() }, { replace: true });
  return html`
    <div class="filters" role="search" aria-label="Filter the events">
      <${Field} label="What">
        <select value=${query.type ?? ''} onChange=${set('type')}>
          <option value="">Everything</option>
          ${query.type && !TYPES.includes(query.type) && html`<option value=${query.type}>${query.type}</option>`}
          ${TYPES.map((type) => html`<option key=${type} value=${type}>${type}</option>`)}
        </select>
      <//>
      <${ProjectChoice} projects=${projects} value=${query.project} all="Any" />
      <${Field} label="By whom"><input type="text" placeholder="somebody@example.org" value=${query.actor ?? ''} onChange=${set('actor')} /><//>
      <${Field} label="From day"><input type="date" value=${query.from ?? ''} onChange=${set('from')} /><//>
      <${Field} label="To day"><input type="date" value=${query.to ?? ''} onChange=${set('to')} /><//>
    </div>
  `;
}

function AuditLog({ query }) {
  const projects = useProjects();
  const { type, project, actor, from, to } = query;
  const list = useList('/organization/audit_logs', {
    limit: 20,
    event_types: type ? [type] : [],
    project_ids: project ? [project] : [],
    actor_emails: actor?.includes('@') ? [actor] : [],
    actor_ids: actor && !actor.includes('@') ? [actor] : [],
    effective_at: { gte: from && dayAt(from, 0), lt: to && dayAt(to, 1) },
  });
  return html`
    <${Page} title=${TITLE} lead=${LEAD} wide>
      <${Verify} />
      <${Filters} query=${query} projects=${projects} />
      <${ErrorNote} error=${list.error} retry=${list.reload} />
      ${(list.rows.length > 0 || !list.loading) && !list.error && html`<${Table} caption="Events" columns=${COLUMNS} rows=${list.rows} empty="No event fits." />`}
      <${More} list=${list} />
    <//>
  `;
}

export default function AuditPage({ query }) {
  return html`<${OrganizationPage} title=${TITLE} lead=${LEAD}><${AuditLog} query=${query} /><//>`;
}
