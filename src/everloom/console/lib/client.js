// The one way to the server: the public API, with the key that the user entered, and nothing else.
import { session } from './session.js';
import { events } from './sse.js';

export { session } from './session.js';

/** An error of the platform's envelope; `status` is 0 where no answer came. */
export class ApiError extends Error {
  constructor({ status = 0, code = null, message, param = null, requestId = null }) {
    super(message);
    this.name = 'ApiError';
    Object.assign(this, { status, code, param, requestId });
  }
}

/** The base URL, as a program would be given it. */
export const baseUrl = () => new URL('../v1', document.baseURI).href;

/** `{metadata: {user: '42'}, include: ['a'], limit: 5}` as a query; what is undefined, null or '' is left out. */
export function queryString(query = {}) {
  const pairs = [];
  const add = (name, value) => {
    if (value === undefined || value === null || value === '') return;
    if (Array.isArray(value)) value.forEach((one) => add(`${name}[]`, one));
    else if (typeof value === 'object') Object.entries(value).forEach(([key, one]) => add(`${name}[${key}]`, one));
    else pairs.push(`${encodeURIComponent(name)}=${encodeURIComponent(value)}`);
  };
  Object.entries(query).forEach(([name, value]) => add(name, value));
  return pairs.length ? `?${pairs.join('&')}` : '';
}

/**
 * Where `path` is asked for. Ids stand in the page's own address, which anybody may have written into a link: what
 * leads out of its place there (`..`, `?`) is asked for nowhere.
 */
function addressOf(path) {
  const address = baseUrl() + path;
  const read = new URL(address);
  if (read.href === address && !read.search && !read.hash) return address;
  throw new ApiError({ status: 404, message: `There is nothing at ${path}.` });
}

function keyFor(path) {
  if (!path.startsWith('/organization')) return session.key;
  if (session.adminKey) return session.adminKey;
  throw new ApiError({ status: 401, code: 'no_admin_key', message: 'This belongs to the organization: it takes an admin key.' });
}

async function failure(response) {
  const requestId = response.headers.get('x-request-id');
  const text = await response.text().catch(() => '');
  let told = {};
  try {
    told = JSON.parse(text).error ?? {};
  } catch {
    // No envelope: something between us and the server has answered.
  }
  const message = typeof told.message === 'string' && told.message ? told.message : `The server answered ${response.status}.`;
  return new ApiError({ status: response.status, code: told.code, message, param: told.param, requestId });
}

/** The bare request: `Response`, or an ApiError thrown. */
async function ask(method, path, { query, body, form, signal, key, headers = {} } = {}) {
  const secret = key ?? keyFor(path);
  // A browser sends no header with other characters, and says no more than that nothing came of it.
  if (!/^[\x21-\x7e]*$/.test(secret)) throw new ApiError({ status: 401, message: 'This is no key: it holds characters that no key has.' });
  const sent = { 'OpenAI-Beta': 'assistants=v2', Authorization: `Bearer ${secret}`, ...headers };
  if (body !== undefined) sent['Content-Type'] = 'application/json';
  const address = addressOf(path) + queryString(query);
  let response;
  try {
    response = await fetch(address, {
      method,
      headers: sent,
      body: form ?? (body === undefined ? undefined : JSON.stringify(body)),
      signal,
      credentials: 'omit',
      cache: 'no-store',
    });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError({ message: 'The server cannot be reached.' });
  }
  if (!response.ok) throw await failure(response);
  return response;
}

const json = async (response) => {
  try {
    return await response.json();
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError({ status: response.status, message: 'The answer broke off, or is no JSON.' });
  }
};

export const api = {
  get: async (path, query, { signal } = {}) => json(await ask('GET', path, { query, signal })),
  /** A page of a list, as the platform has it: {data, has_more, first_id, last_id}. */
  list: async (path, query, { signal } = {}) => json(await ask('GET', path, { query, signal })),
  post: async (path, body = {}, { signal } = {}) => json(await ask('POST', path, { body, signal })),
  delete: async (path) => json(await ask('DELETE', path)),
  /** POST of a form (`FormData`), with files. */
  upload: async (path, form, { signal } = {}) => json(await ask('POST', path, { form, signal })),
  text: async (path, query) => (await ask('GET', path, { query })).text(),
  /** The bytes of a file: `Blob`. */
  blob: async (path, { signal } = {}) => (await ask('GET', path, { signal })).blob(),
  /**
   * A stream of events, to its end: `onEvent({event, data, id})` for each, `data` read as JSON, without the closing
   * [DONE]. POST of `body`, or GET where it is undefined. `after` is the id of the last event seen; `onOpen` is called
   * when the server has answered.
   */
  async stream(path, body, { signal, onEvent, onOpen, query, after } = {}) {
    const headers = after === undefined ? {} : { 'Last-Event-ID': String(after) };
    const response = await ask(body === undefined ? 'GET' : 'POST', path, { body, query, signal, headers });
    onOpen?.();
    let done = false;
    try {
      for await (const { event, data, id } of events(response.body)) {
        done = data === '[DONE]';
        if (!done) onEvent({ event, id, data: JSON.parse(data) });
      }
    } catch (error) {
      if (error.name === 'AbortError' || error instanceof ApiError) throw error;
      throw new ApiError({ status: response.status, message: `The stream broke off: ${error.message}` });
    }
    if (!done) throw new ApiError({ status: response.status, message: 'The stream broke off before its end.' });
  },
};

/** Whether the server takes `key`: an ApiError where it does not. A key that may not list things is one, too. */
export async function checkKey(key, { admin = false } = {}) {
  const path = admin ? '/organization/projects' : '/models';
  try {
    await ask('GET', path, { key, query: admin ? { limit: 1 } : {} });
  } catch (error) {
    if (error.status !== 403) throw error;
  }
}
