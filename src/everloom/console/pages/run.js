// A run: what it did, step by step; live while it goes on, and afterwards event by event as it was told.
import { html, useEffect, useMemo, useState } from '../lib/html.js';
import { api } from '../lib/client.js';
import { go, href, route } from '../lib/router.js';
import { Button, ErrorNote, Id, Json, Page, Tabs, useThing } from '../lib/parts.js';
import { AnswerCalls } from '../lib/runs/calls.js';
import { FOUND, useRun } from '../lib/runs/follow.js';
import { ENDED, asked, nothing, standing, told } from '../lib/runs/log.js';
import { Sent } from '../lib/runs/sent.js';
import { Timeline } from '../lib/runs/view.js';

const VIEWS = [
  { value: 'steps', label: 'Steps' },
  { value: 'sent', label: 'Sent to the model' },
  { value: 'whole', label: 'The run itself' },
];

/** Runs that were imported have no events: what stands of them is read as lists. */
function useStanding(run, wanted) {
  const [found, setFound] = useState({ state: null, error: null });
  useEffect(() => {
    if (!run || !wanted) return undefined;
    const asking = new AbortController();
    const how = { signal: asking.signal };
    Promise.all([
      api.list(`/threads/${run.thread_id}/runs/${run.id}/steps`, { limit: 100, order: 'asc', include: [FOUND] }, how),
      api.list(`/threads/${run.thread_id}/messages`, { limit: 100, order: 'asc', run_id: run.id }, how),
    ]).then(
      ([steps, messages]) => setFound({ state: standing(run, steps.data, messages.data), error: null }),
      (error) => asking.signal.aborted || setFound({ state: null, error }),
    );
    return () => asking.abort();
  }, [run?.id, wanted]);
  return found;
}

/** A walk through what was told: how the run stood behind each of its events. */
function Walk({ events, at, onChange }) {
  const event = events[at - 1];
  return html`
    <div class="walk">
      <label>
        <span class="field-label">Again, event by event: ${at} of ${events.length}</span>
        <input
          type="range"
          min="1"
          max=${events.length}
          value=${at}
          aria-valuetext=${`${at} of ${events.length}: ${event.event}`}
          onInput=${(moved) => onChange(Number(moved.currentTarget.value))}
        />
      </label>
      <p class="fine"><code>${event.event}</code></p>
    </div>
  `;
}

function Steps({ run }) {
  const [at, setAt] = useState(null);
  const { events, state, busy } = run;
  const past = useMemo(() => (at === null ? null : events.slice(0, at).reduce(told, { ...nothing, run: state.run })), [at, events.length]);
  const move = (to) => setAt(to >= events.length ? null : to);
  return html`
    ${!busy && events.length > 1 && html`<${Walk} events=${events} at=${at ?? events.length} onChange=${move} />`}
    <${Timeline} state=${past ?? state} />
  `;
}

export default function RunPage({ params, query }) {
  const { id, run_id: runId } = params;
  const { thing, error, loading, reload } = useThing(`/threads/${encodeURIComponent(id)}/runs/${encodeURIComponent(runId)}`);
  const run = useRun();
  useEffect(() => {
    if (thing) run.follow(thing);
  }, [thing?.id]);
  const quiet = Boolean(run.state.run) && !run.busy && !run.events.length;
  const stands = useStanding(thing, quiet);
  const now = run.state.run ?? thing;
  const view = VIEWS.some((one) => one.value === query.view) ? query.view : 'steps';
  const calls = asked(run.state.run);
  const shown = stands.state && quiet ? { ...run, state: stands.state } : run;
  const actions = now && !ENDED.includes(now.status) && html`<${Button} onClick=${run.cancel}>Stop the run<//>`;
  return html`
    <${Page} back=${{ href: href(`/threads/${id}`), label: 'The thread' }} title="Run" lead=${html`<${Id} value=${runId} />`} actions=${actions}>
      <${ErrorNote} error=${error ?? run.error ?? stands.error} retry=${error ? reload : undefined} />
      ${loading && !thing && html`<p class="loading" role="status">Loading…</p>`}
      ${calls.length > 0 && html`<${AnswerCalls} calls=${calls} busy=${run.busy} onAnswer=${run.answer} onStop=${run.cancel} />`}
      ${now &&
      html`
        <${Tabs} tabs=${VIEWS} value=${view} onChange=${(value) => go(`/threads/${id}/runs/${runId}`, { ...route().query, view: value }, { replace: true })} />
        <div role="tabpanel" class="section" aria-label=${VIEWS.find((one) => one.value === view).label}>
          ${view === 'steps' && html`<${Steps} run=${shown} />`}
          ${view === 'sent' && html`<${Sent} run=${now} />`}
          ${view === 'whole' && html`<${Json} value=${now} />`}
        </div>
      `}
    <//>
  `;
}
