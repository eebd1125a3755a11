// The keys of this tab. They are kept in sessionStorage, which ends with the tab, and go nowhere but into the
// Authorization header: never into an address, a cookie or a log.

const NAMES = { key: 'everloom.key', adminKey: 'everloom.admin_key' };
const listeners = new Set();

function read(name) {
  try {
    return sessionStorage.getItem(name) || '';
  } catch {
    return ''; // Storage is forbidden here: the keys live as long as the page.
  }
}

const held = { key: read(NAMES.key), adminKey: read(NAMES.adminKey) };

export const session = {
  /** The project key, or ''. */
  get key() {
    return held.key;
  },
  /** The admin key, or ''. */
  get adminKey() {
    return held.adminKey;
  },
  /** Keep the keys that are given: {key, adminKey}; '' forgets one. */
  set(keys) {
    for (const [name, value] of Object.entries(keys)) {
      held[name] = value;
      try {
        if (value) sessionStorage.setItem(NAMES[name], value);
        else sessionStorage.removeItem(NAMES[name]);
      } catch {
        // As above.
      }
    }
    listeners.forEach((listener) => listener());
  },
  /** Calls `listener` after each change; returns what ends that. */
  subscribe(listener) {
    listeners.add(listener);
    return () => listeners.delete(listener);
  },
};
