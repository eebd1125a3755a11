// Threads found by metadata, which the server looks for, and by time and the state of the last run, which are looked
// at here: page by page, newest first, so far at a time as somebody waits for.
import { useEffect, useRef, useState } from '../html.js';
import { api } from '../client.js';

const SHOWN = 20;
const LOOKED_AT = 400;
const AT_ONCE = 6;

/** `user=42, team=red` as {user: '42', team: 'red'}. */
export const pairs = (text = '') =>
  Object.fromEntries(
    text
      .split(',')
      .map((pair) => pair.split(/=(.*)/s).map((part) => part?.trim()))
      .filter(([key, value]) => key && value !== undefined)
      .map(([key, value]) => [key, value]),
  );

/** A day as a date field has it, in the reader's own time: its first second, or the last one with `end`. */
export function dayOf(text, { end = false } = {}) {
  const date = new Date(`${text}T${end ? '23:59:59' : '00:00:00'}`);
  return Number.isNaN(date.getTime()) ? null : Math.floor(date.getTime() / 1000);
}

/** What is shown of a thread beside itself: its last run and its first message. */
async function glance(thread, signal) {
  const [runs, messages] = await Promise.all([
    api.list(`/threads/${thread.id}/runs`, { limit: 1 }, { signal }),
    api.list(`/threads/${thread.id}/messages`, { limit: 1, order: 'asc' }, { signal }),
  ]);
  return { ...thread, last_run: runs.data[0] ?? null, opening: messages.data[0] ?? null };
}

/** `look(one)` of each, a few at a time, in their order; a thread that goes meanwhile is left out. */
async function inTurn(list, look) {
  const found = [];
  const waiting = list.entries();
  const work = async () => {
    for (const [at, one] of waiting) {
      found[at] = await look(one).catch((error) => {
        if (error.status === 404) return null;
        throw error;
      });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  return found.filter(Boolean);
}

/** From `after` on: {rows, after, hasMore, seen}, until enough is found or enough was looked at. */
async function find({ metadata, status, from, to }, after, signal) {
  const [oldest, newest] = [from && dayOf(from), to && dayOf(to, { end: true })];
  const narrowed = Boolean(status || newest);
  const rows = [];
  let seen = 0;
  for (;;) {
    const query = { metadata: pairs(metadata), limit: narrowed ? 100 : SHOWN, after };
    const page = await api.list('/threads', query, { signal });
    seen += page.data.length;
    after = page.last_id;
    const inTime = page.data.filter((one) => (!oldest || one.created_at >= oldest) && (!newest || one.created_at <= newest));
    const looked = await inTurn(inTime, (one) => glance(one, signal));
    rows.push(...looked.filter((one) => !status || one.last_run?.status === status));
    const over = !page.has_more || (oldest && page.data.some((one) => one.created_at < oldest));
    if (over || rows.length >= SHOWN || seen >= LOOKED_AT) return { rows, after, hasMore: !over, seen };
  }
}

/** {rows, error, loading, hasMore, seen, more(), reload()} of the threads that `filters` ask for. */
export function useThreads(filters) {
  const [state, setState] = useState({ rows: [], loading: true });
  const turn = useRef(null);
  const read = async (before) => {
    turn.current?.abort();
    const mine = (turn.current = new AbortController());
    setState({ ...before, loading: true, error: null });
    try {
      const found = await find(filters, before.after, mine.signal);
      const seen = (before.seen ?? 0) + found.seen;
      if (turn.current === mine) setState({ ...found, rows: [...before.rows, ...found.rows], seen, loading: false });
    } catch (error) {
      if (turn.current === mine) setState({ ...before, loading: false, error });
    }
  };
  const nothing = { rows: [] };
  useEffect(() => {
    read(nothing);
    return () => turn.current?.abort();
  }, [JSON.stringify(filters)]);
  return { ...state, hasMore: Boolean(state.hasMore), more: () => read(state), reload: () => read(nothing) };
}
