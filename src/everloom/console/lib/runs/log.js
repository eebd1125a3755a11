// A run as its events tell it: the same from a live stream, from its log read again, and from lists of what stands.

/** What is known of a run. `times` has moments of this browser's clock, in milliseconds, where events came live. */
export const nothing = { run: null, thread: null, steps: [], messages: [], error: null, last: undefined, times: {} };

/** What stands of a run that nobody streams: its lists, in their order. */
export const standing = (run, steps, messages) => ({ ...nothing, run, steps, messages });

const put = (list, thing) => {
  const at = list.findIndex((one) => one.id === thing.id);
  return at < 0 ? [...list, thing] : list.with(at, thing);
};

const grown = (list, id, grow) => {
  const at = list.findIndex((one) => one.id === id);
  return at < 0 ? list : list.with(at, grow(list[at]));
};

/** A list with the piece at its `index` grown; pieces name their place, and the first one makes it. */
function at(list, { index, ...piece }, grow) {
  const copy = [...list];
  copy[index] = grow(copy[index], piece);
  return copy;
}

function text(old = { value: '', annotations: [] }, piece = {}) {
  const annotations = (piece.annotations ?? []).reduce((all, one) => at(all, one, (_, whole) => whole), old.annotations ?? []);
  return { value: (old.value ?? '') + (piece.value ?? ''), annotations };
}

const part = (old, piece) => {
  if (piece.type === 'text') return { type: 'text', text: text(old?.text, piece.text) };
  if (piece.type === 'refusal') return { type: 'refusal', refusal: (old?.refusal ?? '') + piece.refusal };
  return piece;
};

const grownMessage = (message, delta) => ({
  ...message,
  content: (delta.content ?? []).reduce((all, piece) => at(all, piece, part), message.content),
});

const output = (old, piece) => (piece.type === 'logs' ? { ...piece, logs: (old?.logs ?? '') + piece.logs } : piece);

function call(old, piece) {
  const { type, id = old?.id } = piece;
  if (type === 'function') {
    const before = old?.function ?? { name: '', arguments: '', output: null };
    const more = piece.function ?? {};
    const grownArguments = before.arguments + (more.arguments ?? '');
    return { type, id, function: { ...before, ...more, arguments: grownArguments, output: more.output ?? before.output } };
  }
  if (type === 'code_interpreter') {
    const before = old?.code_interpreter ?? { input: '', outputs: [] };
    const more = piece.code_interpreter ?? {};
    const outputs = (more.outputs ?? []).reduce((all, one) => at(all, one, output), before.outputs);
    return { type, id, code_interpreter: { input: before.input + (more.input ?? ''), outputs } };
  }
  return { ...old, ...piece, id };
}

const grownStep = (step, delta) => {
  const pieces = delta.step_details?.tool_calls ?? [];
  const before = step.step_details.tool_calls ?? [];
  return { ...step, step_details: { ...step.step_details, tool_calls: pieces.reduce((all, one) => at(all, one, call), before) } };
};

/** When things came to pass, by this browser's clock: for the time to the first word, which rows do not have. */
function timed(times, event, data) {
  const first = (name) => (times[name] === undefined ? { ...times, [name]: performance.now() } : times);
  if (event === 'thread.run.created') return first('created');
  if (event === 'thread.run.in_progress') return first('started');
  if (event === 'thread.message.delta') return first('firstText');
  if (data.object === 'thread.run' && rests(data)) return { ...times, ended: performance.now() };
  return times;
}

function changed(state, event, data) {
  if (event === 'error') return { error: data.error ?? data };
  if (event === 'thread.message.delta') return { messages: grown(state.messages, data.id, (one) => grownMessage(one, data.delta)) };
  if (event === 'thread.run.step.delta') return { steps: grown(state.steps, data.id, (one) => grownStep(one, data.delta)) };
  if (event.startsWith('thread.message.')) return { messages: put(state.messages, data) };
  if (event.startsWith('thread.run.step.')) return { steps: put(state.steps, data) };
  if (event.startsWith('thread.run.')) return { run: data };
  return event === 'thread.created' ? { thread: data } : {};
}

/** The run with one more of its events, `{event, data, id}`. Those that are not known change nothing. */
export function told(state, { event, data, id }) {
  const times = timed(state.times, event, data);
  return { ...state, ...changed(state, event, data), times, last: id ?? state.last };
}

export const ENDED = ['cancelled', 'failed', 'completed', 'incomplete', 'expired'];
/** Whether nobody is at work on the run now: it has ended, or waits for the caller. */
export const rests = (run) => ENDED.includes(run?.status) || run?.status === 'requires_action';

/** The calls that the run waits for. */
export const asked = (run) =>
  (run?.status === 'requires_action' && run.required_action?.submit_tool_outputs?.tool_calls) || [];
