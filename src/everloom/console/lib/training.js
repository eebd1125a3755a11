// What is read of one training: its events, all of them that are wanted, and its losses by step.
import { useEffect, useRef, useState } from './html.js';
import { api } from './client.js';

const PAGE = 100;
/** Events that are read at the most, the newest first. */
export const MOST_EVENTS = 2000;

/**
 * The events of a job, newest first: {events, whole, error, look()}. `look` reads those that have come since, and
 * `whole` says whether none were left out.
 */
export function useEvents(path) {
  const [state, setState] = useState({ events: [], whole: true, error: null, read: false });
  const known = useRef([]);
  const look = async () => {
    try {
      const ids = new Set(known.current.map((event) => event.id));
      const fresh = [];
      let after;
      let whole = true;
      for (;;) {
        const page = await api.list(`${path}/events`, { limit: PAGE, after });
        const unknown = page.data.filter((event) => !ids.has(event.id));
        fresh.push(...unknown);
        if (!page.has_more || unknown.length < page.data.length) break;
        if (fresh.length >= MOST_EVENTS) {
          whole = false;
          break;
        }
        after = page.data.at(-1).id;
      }
      known.current = [...fresh, ...known.current];
      setState((now) => ({ events: known.current, whole: now.whole && whole, error: null, read: true }));
    } catch (error) {
      setState((now) => ({ ...now, error, read: true }));
    }
  };
  useEffect(() => {
    known.current = [];
    look();
  }, [path]);
  return { ...state, look };
}

const SERIES = [
  ['train_loss', 'Training'],
  ['valid_loss', 'Validation'],
  ['full_valid_loss', 'Validation, whole file'],
];

/** The losses by step, as a plot takes them; those alone of which there are some. */
export function losses(events) {
  const series = SERIES.map(([name, label]) => {
    const bySteps = new Map();
    for (const { data } of events) {
      if (Number.isFinite(data?.step) && Number.isFinite(data?.[name])) bySteps.set(data.step, data[name]);
    }
    return { label, points: [...bySteps].sort(([a], [b]) => a - b) };
  });
  return series.filter((one) => one.points.length);
}
