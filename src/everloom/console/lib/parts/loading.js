// What pages read of the server.
import { useCallback, useEffect, useReducer, useRef } from '../html.js';
import { api } from '../client.js';

/** What `load(signal)` gives, anew with each change of `key`; a later answer of an earlier key is thrown away. */
function useLoad(key, load) {
  const [state, change] = useReducer((old, step) => ({ ...old, ...step }), { loading: key !== null });
  const turn = useRef(null);
  const start = useCallback(
    async (run, shown) => {
      turn.current?.abort();
      const mine = (turn.current = new AbortController());
      change({ loading: true, error: null, ...shown });
      try {
        const found = await run(mine.signal);
        if (turn.current === mine) change({ ...found, loading: false });
      } catch (error) {
        if (turn.current === mine) change({ error, loading: false });
      }
    },
    [change],
  );
  useEffect(() => {
    if (key === null) {
      change({ loading: false, error: null });
      return undefined;
    }
    start(load, { rows: undefined, thing: undefined, hasMore: false });
    return () => {
      const mine = turn.current;
      turn.current = null;
      mine?.abort();
    };
  }, [key]);
  return { state, start };
}

/**
 * A list, page by page: {rows, error, loading, hasMore, more(), reload()}. `query` is the list's own; `path` null reads
 * nothing. `reload` keeps what is shown until the answer is there.
 */
export function useList(path, query = {}) {
  const first = async (signal) => {
    const page = await api.list(path, query, { signal });
    return { rows: page.data, hasMore: Boolean(page.has_more), last: page.last_id ?? page.data.at(-1)?.id };
  };
  const { state, start } = useLoad(path === null ? null : JSON.stringify([path, query]), first);
  const rows = state.rows ?? [];
  const next = async (signal) => {
    const page = await api.list(path, { ...query, after: state.last }, { signal });
    return {
      rows: [...rows, ...page.data],
      hasMore: Boolean(page.has_more) && page.data.length > 0,
      last: page.last_id ?? page.data.at(-1)?.id,
    };
  };
  return {
    rows,
    error: state.error ?? null,
    loading: state.loading,
    hasMore: Boolean(state.hasMore),
    more: () => start(next),
    reload: () => start(first),
  };
}

/** One thing: {thing, error, loading, reload()}. `thing` is null until it is there. */
export function useThing(path, query = {}) {
  const load = async (signal) => ({ thing: await api.get(path, query, { signal }) });
  const { state, start } = useLoad(path === null ? null : JSON.stringify([path, query]), load);
  return { thing: state.thing ?? null, error: state.error ?? null, loading: state.loading, reload: () => start(load) };
}
