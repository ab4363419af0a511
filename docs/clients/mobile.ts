/**
 * A client of the sync protocol (docs/sync.md): a copy of the user's collections that works offline, and an outbox.
 * No dependencies: give it fetch and a storage. Types stand between the two marks below and in `const name: Type =`, and
 * nowhere else: without them this is JavaScript, which is how the project's tests run it.
 */

// <types>
export interface Item { id: string; _v: string; [field: string]: unknown }
export interface Mutation { seq: number; id: string; op: string; args: unknown; if_version?: string }
export interface Problem { type: string; detail?: string; [member: string]: unknown }
export type Status = "applied" | "conflict" | "rejected" | "unknown" | "retry";
export interface Result { id: string; status: Status; item?: Item | null; problem?: Problem }
export interface Part { reset?: boolean; put?: Item[]; del?: string[]; complete: boolean }

export interface Answer {
  token: string; more: boolean; ack: number;
  results?: Result[];
  collections: Record<string, Part>;
  poll_after: number;
}

/** All that must survive the app. `sent` are mutations with a result whose effect is not in `items` yet. */
export interface State {
  client: string; schema: number; token: string | null;
  seq: number; ack: number;
  outbox: Mutation[];
  sent: Mutation[];
  items: Record<string, Record<string, Item>>;
}

/** `save` replaces what is there as a whole: one transaction, or one file renamed. */
export interface Storage {
  load(): Promise<State | null>;
  save(state: State): Promise<void>;
}

export interface Options {
  /** Where the gateway syncs, such as https://mobile.example/sync. */
  url: string;
  storage: Storage;
  /** The layout of what is stored: another number begins with an empty copy (the outbox stays). */
  schema: number;
  /** What is kept; without `fields`, whole items. */
  collections: Record<string, { fields?: string[] }>;
  /** The credentials of each request. */
  headers(): Promise<Record<string, string>>;
  /** What asks, such as "ios/3.4.1": the version gate lets it in, or tells it to be updated. */
  app?: string;
  /** There is an update; `required`: nothing but sync is served any more, which goes on. "none" when that is over. */
  onUpdate?(update: string): void;
  /** Shows a mutation before the gateway has seen it: changes `items`, which is a copy. */
  preview?(mutation: Mutation, items: Record<string, Record<string, Item>>): void;
  /** Told of each final result: show conflicts and rejections to the user. */
  onResult?(result: Result, mutation: Mutation): void;
  /** Told whenever what `items` gives has changed. */
  onChange?(): void;
  fetch?: typeof fetch;
  newId?(): string;
  limit?: number;
}

export interface Client {
  /** The items of a collection, with what is still to be sent already in them. */
  items(collection: string): Item[];
  /** Queue a write; gives its id. `seen` is the item that the user looked at when deciding on it. */
  mutate(op: string, args: unknown, seen?: Item): Promise<string>;
  /** How many writes have no final result. */
  waiting(): number;
  /** Push and pull until there is no more; gives the seconds after which to come again. Throws when offline. */
  sync(): Promise<number>;
  /** Sync for ever: at once, when poked, and as often as the gateway says. */
  run(signal: AbortSignal): Promise<void>;
  /** Sync now, if `run` is running: for a push notification, or when the network is back. */
  poke(): void;
}

type Open = (options: Options) => Promise<Client>;
type Fresh = (options: Options, id: string) => State;
type Call = (path: string, init: RequestInit) => Promise<Response>;
type Ask = (state: State, most: number, lean: boolean) => Promise<Response>;
type Take = (answer: Answer) => Promise<void>;
type Settle = (state: State, result: Result) => void;
type Apply = (state: State, answer: Answer) => void;
type Commit = (change: (state: State) => void) => Promise<void>;
type Rest = (seconds: number, signal: AbortSignal) => Promise<void>;
type Drop = (mutation: Mutation, refusal: Response) => Promise<void>;
type Listen = (signal: AbortSignal) => Promise<void>;
type Wait = () => Promise<number>;
type Wake = { again: boolean; stop: () => void };
// </types>

const MOST = 100; // mutations in one request
const SHORTEST = 1;
const LONGEST = 300;
const TOO_MUCH = [400, 408, 413, 422]; // a request that will be refused again as it is, or that took too long to send

const fresh: Fresh = (options, id) => ({
  client: id, schema: options.schema, token: null, seq: 0, ack: 0, outbox: [], sent: [], items: {},
});

/** Takes a result in: a final one ends the mutation's stay in the outbox. */
const settle: Settle = (state, result) => {
  const mutation = state.outbox.find((each) => each.id === result.id);
  if (mutation === undefined || result.status === "retry") return;
  state.outbox = state.outbox.filter((each) => each !== mutation);
  if (result.status === "applied" || result.status === "unknown") state.sent.push(mutation);
};

/** Takes an answer in: results, then items, then the token that stands for both. */
const apply: Apply = (state, answer) => {
  for (const result of answer.results ?? []) settle(state, result);
  for (const [name, part] of Object.entries(answer.collections)) {
    const items = part.reset ? {} : { ...state.items[name] };
    for (const item of part.put ?? []) items[item.id] = item;
    for (const id of part.del ?? []) delete items[id];
    state.items[name] = items;
  }
  state.token = answer.token;
  state.ack = Math.max(state.ack, answer.ack);
  state.sent = state.sent.filter((each) => each.seq > state.ack);
};

/** The client of what is stored. */
export const openSync: Open = async (options) => {
  const request = options.fetch ?? fetch;
  const newId = options.newId ?? (() => crypto.randomUUID());
  let state = (await options.storage.load()) ?? fresh(options, newId());
  if (state.schema !== options.schema) {
    state = { ...state, schema: options.schema, token: null, items: {} };
  }
  let running = Promise.resolve(0);
  let writing = Promise.resolve();
  let told = "none";
  const wake: Wake = { again: false, stop: () => undefined };
  const poke = () => {
    wake.again = true;
    wake.stop();
  };

  /** Changes are made one after the other, on a copy that counts only when it is stored. */
  const commit: Commit = (change) => {
    const next = writing.catch(() => undefined).then(async () => {
      const copy = structuredClone(state);
      change(copy);
      await options.storage.save(copy);
      state = copy;
    });
    writing = next;
    return next.then(() => options.onChange?.());
  };

  const call: Call = async (path, init) => {
    const headers = { ...(await options.headers()), ...(options.app && { "app-version": options.app }) };
    const response = await request(options.url + path, { ...init, headers: { ...init.headers, ...headers } });
    const update = response.headers.get("app-update") ?? "none";
    if (update !== told) options.onUpdate?.((told = update));
    return response;
  };

  const ask: Ask = (now, most, lean) => {
    const message = {
      client: now.client,
      schema: now.schema,
      token: now.token,
      // Without a token, what is here says where it stands.
      have: !lean && now.token === null && Object.keys(now.items).length > 0
        ? Object.fromEntries(Object.entries(now.items).map(([name, items]) => [
            name, Object.fromEntries(Object.values(items).map((item) => [item.id, item._v])),
          ]))
        : null,
      limit: options.limit ?? 500,
      collections: options.collections,
      mutations: now.outbox.slice(0, most),
    };
    const headers = { "content-type": "application/json" };
    return call("", { method: "POST", headers, body: JSON.stringify(message) });
  };

  const take: Take = async (answer) => {
    const mutations = new Map(state.outbox.map((each) => [each.id, each]));
    const results = (answer.results ?? []).filter((each) => each.problem?.type !== "urn:bff:sync:seq-taken");
    if (results.length === (answer.results ?? []).length) {
      await commit((next) => apply(next, answer));
    } else {
      // Somebody else goes by this name, such as a phone restored from the same backup: take another, begin at one.
      const client = newId();
      await commit((next) => {
        for (const result of results) settle(next, result);
        next.outbox = next.outbox.map((each, index) => ({ ...each, seq: index + 1 }));
        Object.assign(next, { client, token: null, ack: 0, sent: [], seq: next.outbox.length });
      });
    }
    for (const result of results) {
      const mutation = mutations.get(result.id);
      if (mutation !== undefined && result.status !== "retry") options.onResult?.(result, mutation);
    }
  };

  /** A mutation that no request can carry, if one without it is taken: it never was, so its number is free. */
  const drop: Drop = async (mutation, refusal) => {
    const problem: Problem = await refusal.json();
    const without = await ask(state, 0, true);
    if (!without.ok || refusal.status === 408) throw new Error(`sync: ${without.status}`);
    await take(await without.json());
    await commit((next) => {
      next.outbox = next.outbox.filter((each) => each.id !== mutation.id);
      for (const each of next.outbox) if (each.seq > mutation.seq) each.seq -= 1;
      next.seq -= 1;
    });
    options.onResult?.({ id: mutation.id, status: "rejected", problem }, mutation);
  };

  const once: Wait = async () => {
    let most = MOST;
    let lean = false;
    for (;;) {
      const { client, outbox } = state;
      const response = await ask(state, most, lean);
      if (TOO_MUCH.includes(response.status) && (!lean || outbox.length > 0)) {
        const count = Math.min(most, outbox.length);
        if (lean && count === 1) await drop(outbox[0], response);
        if (lean) most = Math.max(1, count >> 1);
        lean = true;
        continue;
      }
      if (!response.ok) throw new Error(`sync: ${response.status}`);
      const answer: Answer = await response.json();
      await take(answer);
      const waits = (answer.results ?? []).some((each) => each.status === "retry");
      const left = outbox.length > most && !waits;
      most = Math.min(MOST, most * 2);
      if (!answer.more && !left && client === state.client) return Math.max(SHORTEST, answer.poll_after);
    }
  };

  const rest: Rest = async (seconds, signal) => {
    if (!wake.again) {
      await new Promise((done) => {
        const timer = setTimeout(done, seconds * 1000);
        wake.stop = () => {
          clearTimeout(timer);
          done(null);
        };
        signal.addEventListener("abort", wake.stop, { once: true });
      });
    }
    wake.again = false;
  };

  /** Listens to pokes; any word of the stream is one. When it ends, it is opened again, unless the app is too old. */
  const listen: Listen = async (signal) => {
    while (!signal.aborted && told !== "required") {
      try {
        const response = await call("/poke", { signal });
        const reader = response.ok ? response.body?.getReader() : undefined;
        const decoder = new TextDecoder();
        for (let read = await reader?.read(); read !== undefined && !read.done; read = await reader?.read()) {
          if (decoder.decode(read.value, { stream: true }).includes("event: poke")) poke();
        }
      } catch { /* offline, or aborted */ }
      if (!signal.aborted) await new Promise((done) => setTimeout(done, 5000));
    }
  };

  return {
    items: (collection) => {
      const shown = structuredClone(state.items);
      for (const each of [...state.sent, ...state.outbox]) options.preview?.(each, shown);
      return Object.values(shown[collection] ?? {});
    },
    mutate: async (op, args, seen) => {
      const id = newId();
      await commit((next) => {
        next.seq += 1;
        next.outbox.push({ seq: next.seq, id, op, args, ...(seen && { if_version: seen._v }) });
      });
      poke();
      return id;
    },
    waiting: () => state.outbox.length,
    sync: () => (running = running.catch(() => 0).then(once)),
    run: async (signal) => {
      void listen(signal);
      let failures = 0;
      while (!signal.aborted) {
        let seconds = 0;
        try {
          seconds = await (running = running.catch(() => 0).then(once));
          failures = 0;
        } catch {
          failures += 1;
          seconds = Math.random() * Math.min(LONGEST, 2 ** failures);
        }
        if (!signal.aborted) await rest(seconds, signal);
      }
    },
    poke,
  };
};
