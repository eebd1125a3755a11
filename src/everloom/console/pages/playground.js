// The playground: talk with an assistant, and see beside it what its runs do.
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from '../lib/html.js';
import { api } from '../lib/client.js';
import { go, href, route } from '../lib/router.js';
import { Button, ErrorNote, Id, Page, Tabs, say, useList } from '../lib/parts.js';
import { Message } from '../lib/conversation.js';
import { useAssistants } from '../lib/assistants/form.js';
import { AssistantPanel, useAssistant } from '../lib/playground/assistant-panel.js';
import { Composer, messageOf, useAttached } from '../lib/playground/composer.js';
import { AsCode } from '../lib/playground/as-code.js';
import { AnswerCalls } from '../lib/runs/calls.js';
import { useRun } from '../lib/runs/follow.js';
import { asked, rests } from '../lib/runs/log.js';
import { Sent } from '../lib/runs/sent.js';
import { Timeline } from '../lib/runs/view.js';

const SIDES = [
  { value: 'run', label: 'Run' },
  { value: 'sent', label: 'Sent' },
  { value: 'assistant', label: 'Assistant' },
  { value: 'code', label: 'Code' },
];
const WIDE = matchMedia('(min-width: 1100px)');

function useWide() {
  const [wide, setWide] = useState(WIDE.matches);
  useEffect(() => {
    const look = () => setWide(WIDE.matches);
    WIDE.addEventListener('change', look);
    return () => WIDE.removeEventListener('change', look);
  }, []);
  return wide;
}

/** The thread's messages, oldest first: those that stand, as the run that is shown tells them, and the one on its way. */
function shownMessages(rows, run, pending) {
  const live = new Map(run.state.messages.map((one) => [one.id, one]));
  const stand = [...rows].reverse().map((one) => live.get(one.id) ?? one);
  const ids = new Set(stand.map((one) => one.id));
  return [...stand, ...(pending ? [pending] : []), ...run.state.messages.filter((one) => !ids.has(one.id))];
}

/** What a run said, once it rests, for those who hear the page. */
function useSaying(run) {
  const { state, busy } = run;
  useEffect(() => {
    if (busy || !state.run || !rests(state.run)) return;
    const last = state.messages.at(-1);
    const text = last?.content?.find((part) => part?.type === 'text')?.text.value;
    if (state.run.status === 'completed' && text) say(`Answer: ${text.slice(0, 300)}`);
    else if (state.run.status !== 'requires_action') say(`The run is ${state.run.status}`);
  }, [busy]);
}

/** The end of the conversation stays in sight, unless somebody has scrolled up to read. */
function useEnd(changing, wide) {
  const box = useRef(null);
  const pinned = useRef(true);
  const scrolling = () => (wide ? box.current : document.scrollingElement);
  useLayoutEffect(() => {
    const one = scrolling();
    if (pinned.current && one) one.scrollTop = one.scrollHeight;
  }, [changing, wide]);
  useEffect(() => {
    const one = wide ? box.current : document;
    const scrolled = () => {
      const { scrollHeight, scrollTop, clientHeight } = scrolling();
      pinned.current = scrollHeight - scrollTop - clientHeight < 60;
    };
    one.addEventListener('scroll', scrolled, { passive: true });
    return () => one.removeEventListener('scroll', scrolled);
  }, [wide]);
  return box;
}

function Empty({ ready }) {
  return html`
    <div class="talk-empty">
      <svg viewBox="0 0 120 72" aria-hidden="true">
        <path class="warp" d="M20 6v60M40 6v60M60 6v60M80 6v60M100 6v60" />
        <path class="weft" d="M8 20c8 0 8-5 12-5s10 10 20 10 10-10 20-10 10 10 20 10 10-10 20-10 8 5 12 5" />
        <path class="weft second" d="M8 46c8 0 8 5 12 5s10-10 20-10 10 10 20 10 10-10 20-10 10 10 20 10 8-5 12-5" />
      </svg>
      <h2>${ready ? 'Say something' : 'Make an assistant first'}</h2>
      <p>${ready ? 'The answer comes here as it is written; its run builds up beside it.' : 'Choose a model and press “Create the assistant”.'}</p>
    </div>
  `;
}

function Talk({ messages, list, run, name, why, composer, onAnswer, wide, runHref }) {
  const calls = asked(run.state.run);
  const box = useEnd(run.state, wide);
  const waited = useRef(false);
  useEffect(() => {
    if (waited.current && !calls.length) document.querySelector('.composer textarea')?.focus();
    waited.current = calls.length > 0;
  }, [calls.length]);
  const writing = run.busy ? run.state.messages.at(-1) : null;
  return html`
    <section class="talk" aria-label="Conversation">
      <div class="talk-scroll" tabindex="0" role="group" aria-label="Messages" ref=${box}>
        ${list.hasMore && html`<p class="more"><${Button} kind="quiet" onClick=${list.more}>Earlier messages<//></p>`}
        ${messages.length
          ? html`
              <ol class="messages">
                ${messages.map(
                  (one) => html`
                    <${Message} key=${one.id} message=${one} name=${name} runHref=${runHref}
                      live=${one === writing && one.status === 'in_progress'} />
                  `,
                )}
              </ol>
            `
          : !list.loading && html`<${Empty} ready=${!why} />`}
        <${ErrorNote} error=${list.error ?? run.error} />
        ${run.state.error && html`<${ErrorNote} error=${run.state.error} />`}
        ${run.state.run?.last_error && html`<${ErrorNote} error=${run.state.run.last_error} />`}
      </div>
      ${calls.length
        ? html`<${AnswerCalls} calls=${calls} busy=${run.busy} onAnswer=${onAnswer} onStop=${run.cancel} />`
        : html`<${Composer} ...${composer} busy=${run.busy} why=${why} />`}
    </section>
  `;
}

function Side({ view, run, request, panel }) {
  const { state } = run;
  const none = html`<p class="empty">Nothing has run yet.</p>`;
  return html`
    <div class="side-panel" role="tabpanel" aria-label=${SIDES.find((one) => one.value === view)?.label}>
      ${view === 'run' &&
      (state.run
        ? html`
            <p class="side-id"><${Id} value=${state.run.id} href=${href(`/threads/${state.run.thread_id}/runs/${state.run.id}`)} /></p>
            <${Timeline} state=${state} />
          `
        : none)}
      ${view === 'sent' && (state.run ? html`<${Sent} run=${state.run} />` : none)}
      ${view === 'assistant' && panel}
      ${view === 'code' && html`<${AsCode} request=${request} />`}
    </div>
  `;
}

/** The last run of a thread that is opened again, followed to where it stands. */
function useLastRun(thread, run) {
  const known = useRef(null);
  useEffect(() => {
    if (known.current === thread) return undefined;
    known.current = thread;
    run.clear();
    if (!thread) return undefined;
    const asked = new AbortController();
    api.list(`/threads/${encodeURIComponent(thread)}/runs`, { limit: 1 }, { signal: asked.signal }).then(
      (page) => page.data[0] && run.follow(page.data[0]),
      () => {}, // The list of messages says what is wrong.
    );
    return () => asked.abort();
  }, [thread]);
  return (id) => {
    known.current = id;
  };
}

export default function Playground({ query }) {
  const wide = useWide();
  const thread = query.thread ?? '';
  const assistants = useAssistants();
  const id = query.assistant ?? (query.new ? '' : (assistants.rows[0]?.id ?? ''));
  const at = (more) => go('/playground', { ...route().query, ...more }, { replace: true });
  const edited = useAssistant(id, assistants, (kept) => at({ assistant: kept.id, new: '', view: 'assistant' }));
  const history = useList(thread ? `/threads/${encodeURIComponent(thread)}/messages` : null, { limit: 50 });
  const [text, setText] = useState('');
  const [pending, setPending] = useState(null);
  const attached = useAttached(edited.draft.tools);
  const run = useRun();
  const mine = useLastRun(thread, run);
  useSaying(run);

  const { state } = run;
  useEffect(() => {
    if (!state.run) return;
    if (state.run.thread_id !== thread) {
      mine(state.run.thread_id);
      at({ thread: state.run.thread_id, assistant: id });
    } else history.reload();
  }, [state.run?.id]);
  useEffect(() => {
    if (!run.busy && state.run) history.reload();
  }, [run.busy]);
  useEffect(() => {
    if (pending && history.rows.some((one) => one.role === 'user' && !pending.before.has(one.id))) setPending(null);
  }, [history.rows]);

  const request = useMemo(() => {
    const message = messageOf(text.trim() || 'Hello', attached.files);
    const common = { assistant_id: id || 'asst_…', ...edited.overrides };
    return thread
      ? { path: `/threads/${encodeURIComponent(thread)}/runs`, body: { ...common, additional_messages: [message], stream: true } }
      : { path: '/threads/runs', body: { ...common, thread: { messages: [message] }, stream: true } };
  }, [text, attached.files, id, edited.overrides, thread]);

  const send = async () => {
    const message = messageOf(text.trim(), attached.files);
    const content = typeof message.content === 'string' ? [{ type: 'text', text: message.content }] : message.content;
    const parts = content.map((part) => (part.type === 'text' ? { type: 'text', text: { value: part.text, annotations: [] } } : part));
    const sent = text;
    if (query.view === 'assistant') at({ view: '' });
    const { attachments } = message;
    const before = new Set(history.rows.map((one) => one.id));
    setPending({ id: 'pending', role: 'user', content: parts, attachments, before, created_at: Math.floor(Date.now() / 1000) });
    setText('');
    attached.clear();
    if (!(await run.start(request.path, request.body))) {
      setPending(null);
      setText(sent);
    }
  };
  const again = () => {
    setPending(null);
    run.clear();
    at({ thread: '' });
  };

  const why = edited.assistant ? '' : 'There is no assistant yet: make one first.';
  const making = query.new || (!assistants.loading && !edited.assistant);
  const wanted = query.view ?? (wide ? (making ? 'assistant' : 'run') : 'talk');
  const view = wide && wanted === 'talk' ? 'run' : wanted;
  const tabs = wide ? SIDES : [{ value: 'talk', label: 'Talk' }, ...SIDES];
  const messages = shownMessages(history.rows, run, pending);
  const panel = html`
    <${AssistantPanel} id=${id} list=${assistants} edited=${edited}
      onChoose=${(chosen) => at({ assistant: chosen, new: chosen ? '' : '1' })} />
  `;
  const talk = html`
    <${Talk}
      messages=${messages} list=${history} run=${run} name=${edited.assistant?.name || 'Assistant'} why=${why} wide=${wide}
      onAnswer=${run.answer}
      runHref=${(one) => href(`/threads/${one.thread_id}/runs/${one.run_id}`)}
      composer=${{ text, onText: setText, attached, onSend: send, onStop: run.cancel }}
    />
  `;
  const actions = html`
    ${thread && html`<${Button} kind="quiet" href=${href(`/threads/${thread}`)}>The thread<//>`}
    <${Button} onClick=${again} busy=${run.busy && !run.error}>New conversation<//>
  `;
  return html`
    <${Page} wide title="Playground" actions=${actions}>
      <div class=${wide ? 'playground' : 'playground narrow'}>
        ${(wide || view === 'talk') && talk}
        <section class="side" aria-label="Beside it">
          <${Tabs} tabs=${tabs} value=${view} onChange=${(value) => at({ view: value })} label="Beside the conversation" />
          ${view !== 'talk' && html`<${Side} view=${view} run=${run} request=${request} panel=${panel} />`}
        </section>
      </div>
    <//>
  `;
}
