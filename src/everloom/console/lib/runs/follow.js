// A run followed while it is at work: its stream, and where that breaks off the log of its events from there on.
import { useCallback, useEffect, useRef, useState } from '../html.js';
import { ApiError, api } from '../client.js';
import { ENDED, nothing, rests, told } from './log.js';

/** Without this a run does not tell which words a search has found. */
export const FOUND = 'step_details.tool_calls[*].file_search.results[*].content';

const FIRST_MS = 400;
const LONGEST_MS = 10_000;
/** Tries that fail before anybody is told: most breaks are mended by the first. */
const QUIET_TRIES = 3;
const WAIT_SECONDS = 30;
const MOST_EVENTS = 20_000;
const wait = (milliseconds, signal) =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener('abort', () => (clearTimeout(timer), resolve()));
  });

/** Whether a stream that broke off is worth asking for again, by the log that has what it would have told. */
const canGoOn = (error, state) => error instanceof ApiError && (error.status === 0 || error.status < 300) && state.run;

/**
 * What `ask(renew)` gives, asked again as long as the server is away and somebody has the page open: a server may be
 * started anew for minutes. `renew` says that it answers; `onAway` hears why it does not, and null once it does.
 */
async function patiently(ask, { signal, onAway }) {
  let tries = 0;
  const renew = () => {
    if (tries > QUIET_TRIES) onAway(null);
    tries = 0;
  };
  for (;;) {
    try {
      const found = await ask(renew);
      renew();
      return found;
    } catch (error) {
      if (signal.aborted || !(error instanceof ApiError) || (error.status >= 300 && error.status < 500)) throw error;
      tries += 1;
      if (tries > QUIET_TRIES) onAway(new ApiError({ ...error, message: `${error.message} It is asked again until it answers.` }));
      await wait(Math.min(LONGEST_MS, FIRST_MS * 2 ** (tries - 1)), signal);
      if (signal.aborted) throw error;
    }
  }
}

/** The events of a run from the one behind `after` on, to its end or pause; asked for again where it breaks off. */
async function readOn({ run, after, signal, onEvent, onAway }) {
  const path = `/threads/${run.thread_id}/runs/${run.id}/events`;
  let last = after;
  await patiently(
    (renew) => {
      const seen = (event) => {
        renew();
        last = event.id ?? last;
        onEvent(event);
      };
      return api.stream(path, undefined, { after: last ?? 0, signal, onEvent: seen, onOpen: () => onAway(null) });
    },
    { signal, onAway },
  );
}

/** The steps of searches with the words that they found, which streams leave out. */
async function withFound(current, signal, show) {
  const { run, steps } = current.state;
  const searched = steps.some((step) => step.step_details.tool_calls?.some((call) => call?.type === 'file_search'));
  if (!searched || !rests(run)) return;
  const query = { limit: 100, order: 'asc', include: [FOUND] };
  const page = await api.list(`/threads/${run.thread_id}/runs/${run.id}/steps`, query, { signal });
  if (!signal.aborted) show({ ...current.state, steps: page.data });
}

/** Until the run does not wait for outputs any more, whoever gave them: a program, another window. */
async function answeredElsewhere(run, how) {
  const { signal } = how;
  for (;;) {
    const now = await patiently(() => api.get(`/threads/${run.thread_id}/runs/${run.id}`, { wait: WAIT_SECONDS }, { signal }), how);
    if (signal.aborted || now.status !== 'requires_action') return;
  }
}

/**
 * A run that is shown as it goes: {state, busy, error, events, start(path, body), follow(run), answer(outputs), cancel(), clear()}.
 * `start` and the others resolve when nothing more is told, to whether there is a run.
 * `start` streams a POST that makes a run; `follow` reads a run's events from its first on. Deltas come by the
 * hundred a second: they are gathered, and shown once a frame.
 */
export function useRun() {
  const [state, setState] = useState(nothing);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(null);
  const now = useRef({ state: nothing, turn: null, frame: 0, events: [] });

  const show = useCallback((next) => {
    const { current } = now;
    current.state = next;
    if (current.frame) return;
    const draw = () => {
      current.frame = 0;
      setState(current.state);
    };
    current.frame = document.hidden ? setTimeout(draw, 100) : requestAnimationFrame(draw);
  }, []);

  const reading = useCallback(async (read, from) => {
    now.current.turn?.abort();
    const mine = (now.current.turn = new AbortController());
    const { signal } = mine;
    if (from.steps.length === 0) now.current.events = [];
    show(from);
    setBusy(true);
    setError(null);
    const onEvent = (event) => {
      if (signal.aborted) return;
      if (now.current.events.length < MOST_EVENTS) now.current.events.push(event);
      show(told(now.current.state, event));
    };
    const onAway = (failure) => signal.aborted || setError(failure);
    const readToEnd = async () => {
      try {
        await read({ signal, onEvent, onAway });
      } catch (failure) {
        const { run, last } = now.current.state;
        if (signal.aborted || !canGoOn(failure, now.current.state)) throw failure;
        await readOn({ run, after: last, signal, onEvent, onAway });
      }
      await withFound(now.current, signal, show);
    };
    try {
      await readToEnd();
    } catch (failure) {
      if (!signal.aborted) setError(failure);
    }
    if (now.current.turn === mine) {
      now.current.turn = null;
      setState(now.current.state); // At once, so that nobody sees the end of it and an earlier state together.
      setBusy(false);
    }
    return Boolean(now.current.state.run);
  }, []);

  useEffect(() => () => now.current.turn?.abort(), []);

  const waits = !busy && state.run?.status === 'requires_action' ? state.run : null;
  useEffect(() => {
    if (!waits) return undefined;
    const waiting = new AbortController();
    const answered = async () => {
      await answeredElsewhere(waits, { signal: waiting.signal, onAway: setError });
      const { state: before } = now.current;
      if (!waiting.signal.aborted) await reading((how) => readOn({ ...how, run: waits, after: before.last }), before);
    };
    answered().catch((failure) => waiting.signal.aborted || setError(failure));
    return () => waiting.abort();
  }, [waits?.id, Boolean(waits)]);

  const query = { ids: true };
  return {
    state,
    busy,
    error,
    /** What it was told so far, to be looked at again; not more than twenty thousand. */
    events: now.current.events,
    start: (path, body) =>
      reading((how) => api.stream(path, { ...body, stream: true }, { ...how, query }), { ...nothing, times: { sent: performance.now() } }),
    follow: (run) => reading((how) => readOn({ ...how, run, after: 0 }), { ...nothing, run }),
    answer(outputs) {
      const { run } = now.current.state;
      const path = `/threads/${run.thread_id}/runs/${run.id}/submit_tool_outputs`;
      const body = { tool_outputs: outputs, stream: true };
      const before = now.current.state;
      const { sent, ended } = before.times; // The time that the caller took is not the run's.
      const times = sent && ended ? { ...before.times, sent: performance.now() - (ended - sent), ended: undefined } : before.times;
      return reading((how) => api.stream(path, body, { ...how, query }), { ...before, times });
    },
    async cancel() {
      const { run } = now.current.state;
      if (!run || ENDED.includes(run.status)) return;
      try {
        const after = await api.post(`/threads/${run.thread_id}/runs/${run.id}/cancel`);
        const { state: before, turn } = now.current;
        if (turn || ENDED.includes(before.run?.status)) return; // Its stream tells the rest, or has told it by now.
        await reading((how) => readOn({ ...how, run, after: before.last }), { ...before, run: after });
      } catch (failure) {
        setError(failure);
      }
    },
    clear() {
      now.current.turn?.abort();
      now.current.turn = null;
      setBusy(false);
      setError(null);
      show(nothing);
    },
  };
}
