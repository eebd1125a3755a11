// Addresses behind the hash: `#/threads/thread_x?status=failed`. Pages keep their filters there, so that a reload,
// a bookmark and the back button lead to the same view.
import { useEffect, useState } from './html.js';
import { queryString } from './client.js';

let patterns = [];

/** Tell which paths there are (`/threads/:id`): app.js does, once. */
export const know = (paths) => {
  patterns = paths;
};

/** The params of `path` where it fits `pattern`, or null. */
export function match(pattern, path) {
  const wanted = pattern.split('/');
  const given = path.split('/');
  if (wanted.length !== given.length) return null;
  const params = {};
  for (const [i, part] of wanted.entries()) {
    if (part.startsWith(':') && given[i]) params[part.slice(1)] = given[i];
    else if (part !== given[i]) return null;
  }
  return params;
}

function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // Somebody has typed a lone %.
  }
}

/** Where we are: {path, pattern, params, query}; pattern is null where no page is. */
export function route() {
  const [rawPath, search = ''] = location.hash.replace(/^#/, '').split(/\?(.*)/s);
  const path = rawPath.replace(/\/+$/, '') || '/';
  const pattern = patterns.find((one) => match(one, path)) ?? null;
  const params = pattern ? match(pattern, path) : {};
  for (const name of Object.keys(params)) params[name] = decoded(params[name]);
  return { path, pattern, params, query: Object.fromEntries(new URLSearchParams(search)) };
}

/** The route, anew whenever it changes. */
export function useRoute() {
  const [now, setNow] = useState(route);
  useEffect(() => {
    const look = () => setNow(route());
    addEventListener('hashchange', look);
    look();
    return () => removeEventListener('hashchange', look);
  }, []);
  return now;
}

/** The address of a page: `href('/threads', {status: 'failed'})`. Empty values are left out. */
export const href = (path, query) => `#${path}${queryString(query)}`;

/** Go to a page; `{replace: true}` leaves no step for the back button, as filters want it. */
export function go(path, query, { replace = false } = {}) {
  const address = href(path, query);
  if (!replace) {
    location.hash = address;
    return;
  }
  history.replaceState(null, '', address);
  dispatchEvent(new HashChangeEvent('hashchange'));
}
